"""Says which jobs Snakemake would run in the current folder, as often as it is asked, and loads Snakemake only once.

A line names a preset; the answer is a line of JSON: the jobs by their messages, or what went wrong. Each answer comes
from a process of its own, which loads the project's code as it is then: none of it is loaded here.
"""

import json
import os
import sys
import traceback

import pydantic  # noqa: F401 - the project's code loads it
import snakemake.api
import snakemake.linting.rules
import snakemake.shell
import snakemake.spawn_jobs
import snakemake.storage
import snakemake.workflow  # noqa: F401 - loaded late otherwise


def jobs(preset):
    import versioning

    dag = versioning.build(preset, forceall=False)
    return sorted(job.message for job in dag.jobs if job.message and dag.needrun(job))


def answer(preset):
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    try:
        found = jobs(preset)
    except BaseException:
        found = {"error": traceback.format_exc()}
    print(json.dumps(found), file=out, flush=True)


sys.path[0] = "workflow"
assert "decofuse" not in sys.modules
for line in sys.stdin:
    child = os.fork()
    if not child:
        answer(line.strip())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps({"error": f"ended with status {status}"}), flush=True)
