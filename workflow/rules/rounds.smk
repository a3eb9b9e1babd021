"""Rounds: what a segmentation network learnt of a method's fused images teaches the method, which fuses again.

Round r takes the network of round r - 1 (of round 0, the method's own training), the segmentation network that was
trained on what it fuses (rules generate_training and segment), and gives the network of round r.

REQUIRED INPUTS:

    data/{dataset}/manifest.csv                                           with labels
    results/{preset}/training/{method}/{last phase or meta-<r-1>}/weights.safetensors
    results/{preset}/segmentation/{method, or method-round<r-1>}/0/

OUTPUTS, in results/{preset}/training/{method}/meta-{round}/:

    weights.safetensors     the network, which fuses
    modules.safetensors     the meta modules
    history.csv             losses, gradient norms and learning rates by epoch
    metrics.json            the last epoch
"""


rule meta:
    """Train the meta phase of a round; killed at any moment, the same command goes on where it stood."""
    input:
        manifest=f"data/{RUN.params.train}/manifest.csv",
        start=lambda w: RUN.weights(w.preset, RUN.round_before(w.method, w.round)),
        teacher=lambda w: RUN.teacher(w.preset, RUN.round_before(w.method, w.round)),
    output:
        "results/{preset}/training/{method}/meta-{round}/weights.safetensors",
        "results/{preset}/training/{method}/meta-{round}/modules.safetensors",
        "results/{preset}/training/{method}/meta-{round}/history.csv",
        "results/{preset}/training/{method}/meta-{round}/metrics.json",
    log:
        "logs/{preset}/meta-{method}-{round}.log",
    benchmark:
        "logs/benchmarks/{preset}/meta-{method}-{round}.tsv"
    priority: 2
    threads: RUN.params.threads
    resources:
        gpu=1,
        processes=1,
    params:
        settings=lambda w: RUN.settings("meta", w.method),
        start=lambda w, input: RUN.option("--start", input.start),
        teacher=lambda w, input: RUN.option("--teacher", input.teacher),
    message:
        "Training {wildcards.method}, meta phase of round {wildcards.round}"
    shell:
        "decofuse meta {wildcards.method} --round {wildcards.round} --manifest {input.manifest:q} {params.start}"
        " {params.teacher} --settings {params.settings:q} --processes {resources.processes}"
        " --out results/{wildcards.preset}/training/{wildcards.method}/meta-{wildcards.round} 2> {log:q}"
