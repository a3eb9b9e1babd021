"""Training: one rule for every phase of every method.

REQUIRED INPUTS:

    results/{preset}/patches.h5 or data/{dataset}/manifest.csv   what the samples of the phase are read from
    results/{preset}/training/{method}/{previous phase}/   for all phases but a method's first

OUTPUTS, in results/{preset}/training/{method}/{phase}/:

    weights.safetensors     the whole network
    optimizer.safetensors   moments that the next phase carries on
    history.csv             losses, gradient norms and learning rates by epoch
    metrics.json            the last epoch
"""


rule train:
    """Train one phase of a method; killed at any moment, the same command goes on where it stood."""
    input:
        data=lambda w: RUN.training_data(w.preset, w.method, w.phase),
        start=lambda w: RUN.previous_phase(w.preset, w.method, w.phase),
    output:
        "results/{preset}/training/{method}/{phase}/weights.safetensors",
        "results/{preset}/training/{method}/{phase}/optimizer.safetensors",
        "results/{preset}/training/{method}/{phase}/history.csv",
        "results/{preset}/training/{method}/{phase}/metrics.json",
    log:
        "logs/{preset}/train-{method}-{phase}.log",
    benchmark:
        "logs/benchmarks/{preset}/train-{method}-{phase}.tsv"
    # Training is the longest way through the graph: it goes first wherever there is a choice.
    priority: 1
    threads: RUN.params.threads
    resources:
        gpu=1,
        processes=1,
    params:
        settings=lambda w: RUN.settings("train", w.method, w.phase),
        start=lambda w, input: RUN.option("--start", input.start),
    message:
        "Training {wildcards.method}, phase {wildcards.phase}"
    shell:
        "decofuse train {wildcards.method} {wildcards.phase} --settings {params.settings:q}"
        " --data {input.data:q} {params.start} --processes {resources.processes}"
        " --out results/{wildcards.preset}/training/{wildcards.method}/{wildcards.phase} 2> {log:q}"
