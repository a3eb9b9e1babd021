"""From addresses and generators to training patches.

REQUIRED INPUTS:

    params.yaml, workflow/presets/*.yaml
    workflow/splits/{dataset}.csv   for public datasets whose archive has no split folders
    the user's own folders          for datasets of kind folder

OUTPUTS:

    results/{preset}/params.yaml    every parameter of the run and the digests of its code
    data/archives/{archive}.zip     downloaded archives
    data/{dataset}/manifest.csv     the pairs of a dataset, beside the folder `images`
    data/{dataset}/pairing.json     what was left out, and why
    results/{preset}/patches.h5     training and validation patches
"""


rule params:
    """Write down every parameter, so that DVC sees the same reasons to run as Snakemake."""
    input:
        RUN.parameter_files(),
    output:
        "results/{preset}/params.yaml",
    log:
        "logs/{preset}/params.log",
    benchmark:
        "logs/benchmarks/{preset}/params.tsv"
    params:
        settings=lambda w: RUN.all_settings(),
        dvc_deps=lambda w: RUN.parameter_folders(),
    message:
        "Writing down the parameters of {wildcards.preset}"
    shell:
        "decofuse config --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule download:
    """Download one archive, which several datasets may share."""
    output:
        "data/archives/{archive}.zip",
    log:
        "logs/download/{archive}.log",
    benchmark:
        "logs/benchmarks/download/{archive}.tsv"
    params:
        settings=lambda w: RUN.settings("download", w.archive),
        url=lambda w: RUN.url(w.archive),
    message:
        "Downloading {params.url}"
    shell:
        "decofuse download {params.url:q} --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule dataset:
    """Make a dataset's images (extracted, generated, or the user's own) and pair them into its manifest."""
    input:
        archive=lambda w: RUN.archive(w.dataset),
        splits=lambda w: RUN.splits(w.dataset),
        own=lambda w: RUN.own_files(w.dataset),
    output:
        "data/{dataset}/manifest.csv",
        "data/{dataset}/pairing.json",
    log:
        "logs/dataset/{dataset}.log",
    benchmark:
        "logs/benchmarks/dataset/{dataset}.tsv"
    threads: 2
    params:
        settings=lambda w: RUN.settings("dataset", w.dataset),
        archive=lambda w, input: RUN.option("--archive", input.archive),
        splits=lambda w, input: RUN.option("--splits", input.splits),
        dvc_deps=lambda w: RUN.own_folders(w.dataset),
        dvc_outs=lambda w: [f"data/{w.dataset}/images"],
    message:
        "Making the dataset {wildcards.dataset}"
    shell:
        "decofuse dataset {wildcards.dataset:q} --settings {params.settings:q} --threads {threads}"
        " {params.archive} {params.splits} --out data/{wildcards.dataset} 2> {log:q}"


rule patches:
    """Cut the training dataset into HDF5 patches."""
    input:
        f"data/{RUN.params.train}/manifest.csv",
    output:
        "results/{preset}/patches.h5",
    log:
        "logs/{preset}/patches.log",
    benchmark:
        "logs/benchmarks/{preset}/patches.tsv"
    # Most trainings wait for it, and it takes all cores: two trainings must not come first.
    priority: 3
    threads: 2
    params:
        settings=lambda w: RUN.settings("patches"),
    message:
        "Cutting patches for {wildcards.preset}"
    shell:
        "decofuse patches --manifest {input:q} --settings {params.settings:q} --threads {threads}"
        " --out {output:q} 2> {log:q}"
