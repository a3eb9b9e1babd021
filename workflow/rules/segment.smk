"""Segmentation on fused images, and which input helps it most; only where there are labels.

REQUIRED INPUTS:

    data/{dataset}/manifest.csv                             with labels
    results/{preset}/training/{method}/.../weights.safetensors   for methods with training

OUTPUTS:

    results/{preset}/training/images/{variant}/index.csv    fused images of the train and val splits
    results/{preset}/segmentation/{input}/{number}/         weights, best weights and curves of one training
    results/{preset}/segmented/{dataset}/{input}/scores.json     confusion matrices and scores, beside the folder `labels`
    results/{preset}/segmentation.{csv,json,md,html,png}    all inputs side by side
    results/{preset}/overlays-{dataset}.png                 predicted label maps over the images
"""


rule generate_training:
    """Fuse what segmentation networks are trained on."""
    input:
        manifest=f"data/{RUN.params.train}/manifest.csv",
        weights=lambda w: RUN.weights(w.preset, w.variant),
    output:
        "results/{preset}/training/images/{variant}/index.csv",
    log:
        "logs/{preset}/generate_training-{variant}.log",
    benchmark:
        "logs/benchmarks/{preset}/generate_training-{variant}.tsv"
    priority: 2
    resources:
        gpu=1,
    params:
        settings=lambda w: RUN.settings(
            "generate", RUN.params.train, RUN.method(w.variant)
        ),
        method=lambda w: RUN.method(w.variant),
        weights=lambda w, input: RUN.option("--weights", input.weights),
        dvc_outs=lambda w: RUN.images_beside(
            f"results/{w.preset}/training/images/{w.variant}"
        ),
    message:
        "Fusing the training images with {wildcards.variant}"
    shell:
        "decofuse generate {params.method} --manifest {input.manifest:q} {params.weights} --split train --split val"
        " --settings {params.settings:q} --out results/{wildcards.preset}/training/images/{wildcards.variant}"
        " 2> {log:q}"


rule segment:
    """Train a segmentation network on one input; killed at any moment, the same command goes on where it stood."""
    input:
        manifest=f"data/{RUN.params.train}/manifest.csv",
        index=lambda w: RUN.training_images(w.preset, w.input),
    output:
        "results/{preset}/segmentation/{input}/{number}/weights.safetensors",
        "results/{preset}/segmentation/{input}/{number}/best.safetensors",
        "results/{preset}/segmentation/{input}/{number}/history.csv",
        "results/{preset}/segmentation/{input}/{number}/metrics.json",
    log:
        "logs/{preset}/segment-{input}-{number}.log",
    benchmark:
        "logs/benchmarks/{preset}/segment-{input}-{number}.tsv"
    threads: RUN.params.threads
    resources:
        gpu=1,
        processes=1,
    params:
        settings=lambda w: RUN.settings("segment"),
        index=lambda w, input: RUN.option("--index", input.index),
    message:
        "Training segmentation on {wildcards.input}, number {wildcards.number}"
    shell:
        "decofuse segment {wildcards.input:q} --manifest {input.manifest:q} {params.index} --number {wildcards.number}"
        " --settings {params.settings:q} --processes {resources.processes}"
        " --out results/{wildcards.preset}/segmentation/{wildcards.input}/{wildcards.number} 2> {log:q}"


rule predict:
    """Predict label maps with all trainings of one input, and score them."""
    input:
        manifest="data/{dataset}/manifest.csv",
        index=lambda w: RUN.test_images(w.preset, w.dataset, w.input),
        weights=lambda w: RUN.segmentation_weights(w.preset, w.input),
    output:
        "results/{preset}/segmented/{dataset}/{input}/scores.json",
    log:
        "logs/{preset}/predict-{dataset}-{input}.log",
    benchmark:
        "logs/benchmarks/{preset}/predict-{dataset}-{input}.tsv"
    resources:
        gpu=1,
    params:
        settings=lambda w: RUN.settings("predict", w.dataset),
        index=lambda w, input: RUN.option("--index", input.index),
        weights=lambda w, input: RUN.options("--weights", input.weights),
        dvc_outs=lambda w: [
            f"results/{w.preset}/segmented/{w.dataset}/{w.input}/labels"
        ],
    message:
        "Predicting the labels of {wildcards.dataset} from {wildcards.input}"
    shell:
        "decofuse predict {wildcards.input:q} --manifest {input.manifest:q} {params.index} {params.weights}"
        " --settings {params.settings:q}"
        " --out results/{wildcards.preset}/segmented/{wildcards.dataset}/{wildcards.input} 2> {log:q}"


rule predict_head:
    """Score the label maps that a fusion network predicts by itself."""
    input:
        manifest="data/{dataset}/manifest.csv",
        weights=lambda w: RUN.weights(w.preset, w.method),
    output:
        "results/{preset}/segmented/{dataset}/{method}-head/scores.json",
    log:
        "logs/{preset}/predict_head-{dataset}-{method}.log",
    benchmark:
        "logs/benchmarks/{preset}/predict_head-{dataset}-{method}.tsv"
    resources:
        gpu=1,
    params:
        settings=lambda w: RUN.settings("predict_head", w.dataset, w.method),
        weights=lambda w, input: RUN.option("--weights", input.weights),
        dvc_outs=lambda w: [
            f"results/{w.preset}/segmented/{w.dataset}/{w.method}-head/labels"
        ],
    message:
        "Predicting the labels of {wildcards.dataset} with the own head of {wildcards.method}"
    shell:
        "decofuse predict-head {wildcards.method} --manifest {input.manifest:q} {params.weights}"
        " --settings {params.settings:q}"
        " --out results/{wildcards.preset}/segmented/{wildcards.dataset}/{wildcards.method}-head 2> {log:q}"


rule overlays:
    """Draw the label maps that each input led to over its images."""
    input:
        manifest="data/{dataset}/manifest.csv",
        scores=lambda w: RUN.all_segmentation_scores(w.preset, [w.dataset]),
        indices=lambda w: RUN.all_test_images(w.preset, w.dataset),
    output:
        report(
            "results/{preset}/overlays-{dataset}.png",
            caption="../report/overlays.rst",
            category="Pictures",
        ),
    log:
        "logs/{preset}/overlays-{dataset}.log",
    benchmark:
        "logs/benchmarks/{preset}/overlays-{dataset}.tsv"
    params:
        settings=lambda w: RUN.settings("overlays", w.dataset),
        indices=lambda w, input: RUN.options("--index", input.indices),
    message:
        "Drawing the predicted labels of {wildcards.dataset}"
    shell:
        "decofuse overlays {input.scores:q} --manifest {input.manifest:q} {params.indices}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule segmentation_report:
    """Compare the inputs: tables, a chart and a page."""
    input:
        scores=lambda w: RUN.all_segmentation_scores(w.preset, RUN.params.segmented),
        overlays=lambda w: [
            f"results/{w.preset}/overlays-{dataset}.png"
            for dataset in RUN.params.segmented
        ],
    output:
        csv="results/{preset}/segmentation.csv",
        json="results/{preset}/segmentation.json",
        markdown="results/{preset}/segmentation.md",
        html=report(
            "results/{preset}/segmentation.html",
            caption="../report/segmentation.rst",
            category="Scores",
        ),
        chart=report(
            "results/{preset}/segmentation.png",
            caption="../report/segmentation.rst",
            category="Scores",
        ),
    log:
        "logs/{preset}/segmentation_report.log",
    benchmark:
        "logs/benchmarks/{preset}/segmentation_report.tsv"
    params:
        settings=lambda w: RUN.settings("segmentation_report"),
        overlays=lambda w, input: RUN.options("--overlays", input.overlays),
    message:
        "Comparing the inputs of segmentation of {wildcards.preset}"
    shell:
        "decofuse segmentation-report {input.scores:q} {params.overlays} --settings {params.settings:q}"
        " --csv {output.csv:q} --json {output.json:q} --markdown {output.markdown:q} --html {output.html:q}"
        " --chart {output.chart:q} 2> {log:q}"
