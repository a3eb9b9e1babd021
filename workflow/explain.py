"""Says in words why each job that Snakemake would run has to run.

Snakemake decides, and names the kind of reason. What it holds of a job's last run is put beside what the job would be
started with now, so that single parameters and modules can be named.
Run as `python workflow/explain.py PRESET [TARGET...]`; `decofuse explain` does.
"""

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import reproduction
import versioning
from snakemake.exceptions import RuleException, WorkflowError

from decofuse.tracking import code
from decofuse.tracking.run import flatten


def explain(dag: Any) -> Iterator[str]:
    """Lines: each job that would run by its message, and below it, indented, why."""
    own = {*versioning.jobs(dag)}
    for level in dag.toposorted():
        for job in sorted(own.intersection(level), key=versioning.name):
            if dag.needrun(job):
                yield job.message
                yield from (f"    {line}" for line in reasons(dag, job))


def reasons(dag: Any, job: Any) -> list[str]:
    """Why a job would run, each reason in words."""
    reason, persistence = dag.reason(job), dag.workflow.persistence
    lines = [f"missing: {_few(reason.missing_output)}"] if reason.missing_output else []
    lines += [f"not finished: {_few(reason.incomplete_output)}"] if reason.incomplete_output else []
    lines += _differences(_recorded(persistence.params(job.output[0])), versioning.settings(job))
    lines += [f"input changed: {path}" for path in sorted(reason.updated_input - reason.updated_input_run)]
    if reason.input_changed:
        before, now = set(persistence.input(job.output[0])), set(map(str, job.input))
        lines += [f"input is new: {path}" for path in sorted(now - before)]
        lines += [f"input is gone: {path}" for path in sorted(before - now)]
    lines += ["its rule changed"] if reason.code_changed else []
    lines += [
        f"follows: {earlier.message}" for earlier in sorted(dag.dependencies[job], key=str) if dag.needrun(earlier)
    ]
    return lines or [str(reason)]


def _recorded(params: list[str] | None) -> dict[str, Any] | None:
    """The slice of the parameters that Snakemake recorded among a job's params, each of which it holds as a literal."""
    for text in params or ():
        value = ast.literal_eval(text)
        if isinstance(value, str) and value.startswith("{"):
            recorded: dict[str, Any] = json.loads(value)
            return recorded
    return None


def _differences(before: dict[str, Any] | None, now: dict[str, Any]) -> list[str]:
    if before is None:
        return []
    old, new = flatten(before), flatten(now)
    lines, modules = [], set()
    for key in sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key)):
        if not key.startswith("code."):
            lines.append(f"{key}: {_value(old, key)} -> {_value(new, key)}")
        elif key in old and key in new:
            modules |= {*code.changed(reproduction.CODE, old[key], new[key])} or {"of which the old form is not known"}
    return lines + [f"code changed: {module}" for module in sorted(modules)]


def _value(values: dict[str, Any], key: str) -> str:
    text = json.dumps(values[key]) if key in values else "nothing"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _few(paths: Iterable[Any]) -> str:
    first, *more = sorted(map(str, paths))
    return f"{first} and {len(more)} more" if more else first


def main(preset: str, targets: list[str]) -> None:
    """Print why jobs would run."""
    versioning.adopt_if_moved(preset)
    try:
        lines = [*explain(versioning.build(preset, targets, forceall=False))]
    except (RuleException, WorkflowError) as error:
        sys.exit(f"decofuse: error: {' '.join(str(error).split())}")
    print(*lines or ["Nothing to be done: every output is of its present inputs, parameters and code."], sep="\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
