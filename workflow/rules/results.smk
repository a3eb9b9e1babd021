"""What a person looks at first.

REQUIRED INPUTS:

    results/{preset}/fused/{dataset}/{method}/{index.csv,metrics.json}   for every method and test dataset

OUTPUTS:

    results/{preset}/metrics.{csv,json,md}   all scores
    results/{preset}/grid-{dataset}.png      sources and fused images side by side
"""


rule table:
    """Gather the scores of every method and test dataset."""
    input:
        lambda w: RUN.all_scores(w.preset),
    output:
        csv="results/{preset}/metrics.csv",
        json="results/{preset}/metrics.json",
        markdown="results/{preset}/metrics.md",
    log:
        "logs/{preset}/table.log",
    benchmark:
        "logs/benchmarks/{preset}/table.tsv"
    params:
        settings=lambda w: RUN.settings("table"),
    message:
        "Gathering the scores of {wildcards.preset}"
    shell:
        "decofuse table {input:q} --settings {params.settings:q} --csv {output.csv:q} --json {output.json:q}"
        " --markdown {output.markdown:q} 2> {log:q}"


rule grid:
    """Put sources and fused images of a few pairs side by side."""
    input:
        manifest="data/{dataset}/manifest.csv",
        indices=lambda w: RUN.all_indices(w.preset, w.dataset),
    output:
        "results/{preset}/grid-{dataset}.png",
    log:
        "logs/{preset}/grid-{dataset}.log",
    benchmark:
        "logs/benchmarks/{preset}/grid-{dataset}.tsv"
    params:
        settings=lambda w: RUN.settings("grid"),
    message:
        "Drawing the picture grid of {wildcards.dataset}"
    shell:
        "decofuse grid --manifest {input.manifest:q} {input.indices:q} --settings {params.settings:q}"
        " --out {output:q} 2> {log:q}"
