"""DecoFuse: from download to fused images and their numbers. This file is the table of contents."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")
sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

import reproduction

RUN = reproduction.open_run(workflow, config)


report: "workflow/report/workflow.rst"


wildcard_constraints:
    preset=RUN.preset,
    dataset="[a-z0-9_-]+",
    archive="[^/]+",
    method="[a-z0-9_]+",
    phase="[a-z0-9_]+",
    variant="[a-z0-9_]+(-round[0-9]+)?",
    input="[a-z0-9_]+(-round[0-9]+)?",
    number="[0-9]+",
    round="[1-9][0-9]*",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/fuse.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/rounds.smk"
include: "workflow/rules/results.smk"


# On a cluster these stay where Snakemake runs: nodes often have no way out to the internet, and a note of the
# parameters is not worth a job.
localrules:
    all,
    download,
    params,


rule all:
    """Every artifact of the run: a target that names the last ones alone would miss a failure in the middle."""
    default_target: True
    input:
        RUN.artifacts(),


onstart:
    reproduction.on_start(RUN, workflow)


onsuccess:
    reproduction.on_end(RUN, workflow, failed=False)


onerror:
    reproduction.on_end(RUN, workflow, failed=True)
