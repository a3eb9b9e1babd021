"""What a person looks at first.

REQUIRED INPUTS:

    results/{preset}/fused/{dataset}/{method}/{index.csv,metrics.json}   for every method and test dataset
    workflow/published.csv

OUTPUTS:

    results/{preset}/metrics.{csv,json,md}   all scores
    results/{preset}/benchmark.{csv,md,html} the same beside published numbers, with deviations and ranks
    results/{preset}/grid-{dataset}.png      sources and fused images side by side
    results/{preset}/report.html             all of the run on one page
"""


rule table:
    """Gather the scores of every method and test dataset."""
    input:
        lambda w: RUN.all_scores(w.preset, RUN.params.variants),
    output:
        csv="results/{preset}/metrics.csv",
        json="results/{preset}/metrics.json",
        markdown=report(
            "results/{preset}/metrics.md",
            caption="../report/metrics.rst",
            category="Scores",
        ),
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


rule comparison:
    """Put the scores beside published numbers, with what differs, on a page for people."""
    input:
        scores=lambda w: RUN.all_scores(w.preset, RUN.params.run),
        published="workflow/published.csv",
    output:
        csv="results/{preset}/benchmark.csv",
        markdown="results/{preset}/benchmark.md",
        html=report(
            "results/{preset}/benchmark.html",
            caption="../report/benchmark.rst",
            category="Scores",
        ),
    log:
        "logs/{preset}/comparison.log",
    benchmark:
        "logs/benchmarks/{preset}/comparison.tsv"
    params:
        settings=lambda w: RUN.settings("comparison"),
    message:
        "Comparing the scores of {wildcards.preset} with published numbers"
    shell:
        "decofuse comparison {input.scores:q} --published {input.published:q} --settings {params.settings:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} --html {output.html:q} 2> {log:q}"


rule grid:
    """Put sources and fused images of a few pairs side by side."""
    input:
        manifest="data/{dataset}/manifest.csv",
        indices=lambda w: RUN.all_indices(w.preset, w.dataset),
    output:
        report(
            "results/{preset}/grid-{dataset}.png",
            caption="../report/grid.rst",
            category="Pictures",
        ),
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


rule report:
    """Put all results of the run on one page, last of all.

    It depends on every result, so that every job is over and has left its time and memory. The benchmark files
    themselves are no inputs: they are different each time, and are not kept with the results.
    """
    input:
        RUN.results(),
    output:
        report(
            "results/{preset}/report.html",
            caption="../report/report.rst",
            category="Run",
        ),
    log:
        "logs/{preset}/report.log",
    benchmark:
        "logs/benchmarks/{preset}/report.tsv"
    params:
        settings=lambda w: RUN.settings("report"),
        benchmarks=lambda w: RUN.benchmarks(workflow),
    message:
        "Writing the report of {wildcards.preset}"
    shell:
        "decofuse report {input:q} {params.benchmarks} --settings {params.settings:q} --out {output:q} 2> {log:q}"
