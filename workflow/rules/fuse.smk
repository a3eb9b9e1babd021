"""Fused images and their scores.

REQUIRED INPUTS:

    data/{dataset}/manifest.csv
    results/{preset}/training/{method}/{last phase}/weights.safetensors   for methods with training

OUTPUTS, in results/{preset}/fused/{dataset}/{method}/:

    index.csv               the fused images and their checksums, beside the folders `images` and `luma`
    metrics.csv             scores by image
    metrics.json            means, deviations and conventions
"""


rule generate:
    """Fuse the test split of a dataset."""
    input:
        manifest="data/{dataset}/manifest.csv",
        weights=lambda w: RUN.weights(w.preset, w.method),
    output:
        "results/{preset}/fused/{dataset}/{method}/index.csv",
    log:
        "logs/{preset}/generate-{dataset}-{method}.log",
    benchmark:
        "logs/benchmarks/{preset}/generate-{dataset}-{method}.tsv"
    resources:
        gpu=1,
    params:
        settings=lambda w: RUN.settings("generate", w.dataset, w.method),
        weights=lambda w, input: RUN.option("--weights", input.weights),
        dvc_outs=lambda w: RUN.fused_images(w.preset, w.dataset, w.method),
    message:
        "Fusing {wildcards.dataset} with {wildcards.method}"
    shell:
        "decofuse generate {wildcards.method} --manifest {input.manifest:q} {params.weights}"
        " --settings {params.settings:q}"
        " --out results/{wildcards.preset}/fused/{wildcards.dataset}/{wildcards.method} 2> {log:q}"


rule evaluate:
    """Score fused images against their sources."""
    input:
        manifest="data/{dataset}/manifest.csv",
        index="results/{preset}/fused/{dataset}/{method}/index.csv",
    output:
        csv="results/{preset}/fused/{dataset}/{method}/metrics.csv",
        json="results/{preset}/fused/{dataset}/{method}/metrics.json",
    log:
        "logs/{preset}/evaluate-{dataset}-{method}.log",
    benchmark:
        "logs/benchmarks/{preset}/evaluate-{dataset}-{method}.tsv"
    params:
        settings=lambda w: RUN.settings("evaluate"),
    message:
        "Scoring {wildcards.method} on {wildcards.dataset}"
    shell:
        "decofuse score --manifest {input.manifest:q} --index {input.index:q}"
        " --settings {params.settings:q} --csv {output.csv:q} --json {output.json:q} 2> {log:q}"
