"""Fused images and their scores.

REQUIRED INPUTS:

    data/{dataset}/manifest.csv
    results/{preset}/training/{method}/.../weights.safetensors   for methods with training

`variant` is a method, or `<method>-round<r>` for its network after r rounds.

OUTPUTS, in results/{preset}/fused/{dataset}/{variant}/:

    index.csv               the fused images and their checksums, beside the folders `images` and `luma`
    metrics.csv             scores by image
    metrics.json            means, deviations and conventions
"""


rule generate:
    """Fuse the test split of a dataset."""
    input:
        manifest="data/{dataset}/manifest.csv",
        weights=lambda w: RUN.weights(w.preset, w.variant),
    output:
        "results/{preset}/fused/{dataset}/{variant}/index.csv",
    log:
        "logs/{preset}/generate-{dataset}-{variant}.log",
    benchmark:
        "logs/benchmarks/{preset}/generate-{dataset}-{variant}.tsv"
    resources:
        gpu=1,
    params:
        settings=lambda w: RUN.settings("generate", w.dataset, RUN.method(w.variant)),
        method=lambda w: RUN.method(w.variant),
        weights=lambda w, input: RUN.option("--weights", input.weights),
        dvc_outs=lambda w: RUN.images_beside(
            f"results/{w.preset}/fused/{w.dataset}/{w.variant}"
        ),
    message:
        "Fusing {wildcards.dataset} with {wildcards.variant}"
    shell:
        "decofuse generate {params.method} --manifest {input.manifest:q} {params.weights}"
        " --settings {params.settings:q}"
        " --out results/{wildcards.preset}/fused/{wildcards.dataset}/{wildcards.variant} 2> {log:q}"


rule evaluate:
    """Score fused images against their sources."""
    input:
        manifest="data/{dataset}/manifest.csv",
        index="results/{preset}/fused/{dataset}/{variant}/index.csv",
    output:
        csv="results/{preset}/fused/{dataset}/{variant}/metrics.csv",
        json="results/{preset}/fused/{dataset}/{variant}/metrics.json",
    log:
        "logs/{preset}/evaluate-{dataset}-{variant}.log",
    benchmark:
        "logs/benchmarks/{preset}/evaluate-{dataset}-{variant}.tsv"
    params:
        settings=lambda w: RUN.settings("evaluate"),
    message:
        "Scoring {wildcards.variant} on {wildcards.dataset}"
    shell:
        "decofuse score --manifest {input.manifest:q} --index {input.index:q}"
        " --settings {params.settings:q} --csv {output.csv:q} --json {output.json:q} 2> {log:q}"
