"""Keeps Snakemake's graph and DVC's one: dvc.yaml is made from the graph, dvc.lock from its runs, and back.

- `generate`: one DVC stage a job. Its reasons to run are the job's input files and the keys of its slice in
  results/<preset>/params.yaml, where code digests stand as well.
- `record` (when a run ends): stages that Snakemake holds for done go into dvc.lock, and no others.
- `adopt` (when dvc.lock moved without us: clone, checkout, pull, repro): what DVC holds for clean is done.

It calls a few private functions of Snakemake and DVC's Python API; both are pinned.
Run as `python workflow/versioning.py {generate | check | adopt} [PRESET]`.
"""

import contextlib
import copy
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from decofuse.config import read_yaml

PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")
STAMP = Path(".snakemake/decofuse/dvc.lock.sha256")
HEAD = "# Made by workflow/versioning.py from the Snakemake graph; do not edit.\n"
INSIDE = "DECOFUSE_INSIDE_DVC"


def name(job: Any) -> str:
    """DVC stage of a job: preset first, then rule and wildcards; jobs of all presets together have none."""
    wildcards = dict(job.wildcards_dict)
    preset = wildcards.pop("preset", None)
    return "--".join([*([preset] if preset else []), job.rule.name, *wildcards.values()])


def jobs(dag: Any) -> list[Any]:
    """Jobs that are DVC stages: all that have a slice of the parameters."""
    return sorted((job for job in dag.jobs if "settings" in dict(job.params.items())), key=name)


def settings(job: Any) -> dict[str, Any]:
    """The slice of the parameters that a job is started with."""
    slice_: dict[str, Any] = json.loads(dict(job.params.items())["settings"])
    return slice_


def stage(job: Any, preset: str) -> dict[str, Any]:
    """A job as a DVC stage."""
    params = dict(job.params.items())
    made: dict[str, Any] = {
        "cmd": f"snakemake --no-hooks --quiet all --config preset={preset} --force --allowed-rules {job.rule.name}"
        f" -- {job.output[0]}",
        "deps": sorted(map(str, params.get("dvc_deps") or job.input)),
    }
    if job.rule.name != "params":
        made["params"] = [{f"results/{preset}/params.yaml": sorted(settings(job))}]
    outputs = [*map(str, job.output), *params.get("dvc_outs", [])]
    made["outs"] = sorted(path for path in outputs if not _is_metric(path))
    made["metrics"] = sorted(filter(_is_metric, outputs))
    return {key: value for key, value in made.items() if value}


def pipeline(dag: Any, preset: str) -> dict[str, Any]:
    """dvc.yaml's content: this preset's stages made anew, those of other presets kept."""
    old = read_yaml(PIPELINE) if PIPELINE.is_file() else {}
    own = {name(job): stage(job, preset) for job in jobs(dag)}
    others = {
        key: value
        for key, value in old.get("stages", {}).items()
        if key not in own and not key.startswith(f"{preset}--")
    }
    curves = sorted(
        path for made in {**others, **own}.values() for path in made.get("outs", []) if path.endswith("/history.csv")
    )
    return {
        "stages": dict(sorted({**others, **own}.items())),
        "plots": [{path: {"x": "epoch", "y": "loss", "title": _title(path)}} for path in curves],
    }


def generate(dag: Any, preset: str) -> None:
    """Write dvc.yaml if it changed."""
    text = HEAD + yaml.safe_dump(pipeline(dag, preset), sort_keys=False, width=1000)
    if not PIPELINE.is_file() or PIPELINE.read_text() != text:
        PIPELINE.write_text(text)


def check(dag: Any, preset: str) -> bool:
    """Whether dvc.yaml is what `generate` would write."""
    return PIPELINE.is_file() and read_yaml(PIPELINE) == pipeline(dag, preset)


def record(dag: Any, preset: str) -> None:
    """Write into dvc.lock the stages that Snakemake holds for done.

    A stage without Snakemake's own record is left out (later edits would go unnoticed), and so is one whose
    parameters or code were edited while it ran. Links are not made anew: times of files stay as they are.
    """
    if not Path(".dvc").is_dir():
        return
    from dvc.repo import Repo, lock_repo

    generate(build(preset), preset)
    recorded = dag.workflow.persistence.has_metadata
    done = {
        name(job): job
        for job in jobs(dag)
        if (dag.finished(job) or not dag.needrun(job)) and recorded(job) and all(map(os.path.exists, job.output))
    }
    late = []
    repo = Repo(".", _wait_for_lock=True)
    with lock_repo(repo), _parameters_read_once():
        kept = []
        for entry in repo.index.stages:
            if getattr(entry, "name", None) not in done:
                continue
            entry.save()
            if not _used_what_is_there(entry, done[entry.name]):
                late.append(entry.name)
                continue
            entry.commit(relink=False)
            kept.append(entry)
        if kept:
            kept[0].dvcfile.dump_stages(kept, update_pipeline=False)
        _forget_former_stages()
    _mark()
    if late:
        print("decofuse: edited while it ran, so not recorded:", *late, file=sys.stderr)


def adopt_if_moved(preset: str) -> None:
    """Adopt if dvc.lock is not the one that was last recorded or adopted here, or DVC has run a stage since."""
    if "DVC_STAGE" in os.environ:
        STAMP.unlink(missing_ok=True)  # after an experiment dvc.lock may become what it was, and Snakemake's memory not
    elif LOCK.is_file() and not _marked() and INSIDE not in os.environ:
        command = [sys.executable, __file__, "adopt", preset]
        subprocess.run(command, check=True, stdout=sys.stderr)


def adopt(preset: str) -> None:
    """Tell Snakemake that the stages that DVC holds for clean, with all before them, are up to date."""
    os.environ[INSIDE] = "1"
    dag = build(preset)
    status = subprocess.check_output([sys.executable, "-m", "dvc", "--wait-for-lock", "status", "--json"])
    changed = json.loads(status or "{}")
    known = read_yaml(LOCK).get("stages", {})
    stale = {
        job
        for job in jobs(dag)
        if name(job) in changed
        or not _recorded_as_is(known.get(name(job)), job)
        or not all(map(os.path.exists, job.output))
    }
    for job in list(stale):
        stale |= set(dag.bfs(dag.depending, job))
    clean = [job for job in jobs(dag) if job not in stale]
    if clean:
        _touch([str(job.output[0]) for job in clean], preset)
    _mark()
    print(f"decofuse: {len(clean)} of {len(jobs(dag))} stages are up to date in DVC")


def build(preset: str, targets: Iterable[str] = (), forceall: bool = True) -> Any:
    """Snakemake's graph, without running it.

    Args:
        preset: of which run.
        targets: files or rules; left out: everything.
        forceall: take every job for stale, which spares the comparison.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    os.environ[INSIDE] = "1"
    # The interface is left open on purpose: closing it would drop the logger of the run around it.
    api = SnakemakeApi(OutputSettings(quiet={Quietness.ALL})).__enter__()
    flow = api.workflow(
        resource_settings=ResourceSettings(cores=1),
        config_settings=ConfigSettings(config={"preset": preset}),
        snakefile=Path("Snakefile"),
    )
    flow.dag(DAGSettings(frozenset(targets), forceall=forceall, force_incomplete=True, max_checksum_file_size=10**12))
    inner = flow._workflow
    inner._prepare_dag(forceall=forceall, ignore_incomplete=forceall, lock_warn_only=True)
    inner._build_dag()
    return inner.dag


def _used_what_is_there(entry: Any, job: Any) -> bool:
    """Whether the parameters that DVC reads now are those that the job was started with."""
    now = {
        key: value
        for dependency in entry.deps
        if type(dependency).__name__ == "ParamsDependency"
        for key, value in dependency.hash_info.value.items()
    }
    return bool(job.rule.name == "params" or now == settings(job))


def _forget_former_stages() -> None:
    """Drop from dvc.lock what dvc.yaml no longer has: its artifacts would count as missing, and could not be made."""
    from dvc.utils.serialize import dump_yaml

    lock, stages = read_yaml(LOCK) if LOCK.is_file() else {}, read_yaml(PIPELINE)["stages"]
    kept = {key: entry for key, entry in lock.get("stages", {}).items() if key in stages}
    if len(kept) < len(lock.get("stages", {})):
        dump_yaml(str(LOCK), {**lock, "stages": kept})


@contextlib.contextmanager
def _parameters_read_once() -> Iterator[None]:
    """DVC reads the parameters of a run anew three times a stage, a fifth of a second each."""
    from dvc.utils.serialize import LOADERS

    load = LOADERS[".yaml"]
    once = functools.cache(load)
    LOADERS[".yaml"] = lambda *path, **options: copy.deepcopy(once(*path, **options))
    try:
        yield
    finally:
        LOADERS[".yaml"] = load


def _recorded_as_is(entry: dict[str, Any] | None, job: Any) -> bool:
    """Whether dvc.lock has the job with the parameters and the code that it would run with now.

    `dvc status` compares with results/<preset>/params.yaml, which may be older than the code that a pull brought.
    """
    if entry is None or job.rule.name == "params":
        return entry is not None
    (recorded,) = entry["params"].values()
    return bool(recorded == settings(job))


def _touch(targets: Iterable[str], preset: str) -> None:
    command = ["snakemake", "--touch", "--forceall", "--no-hooks", "--quiet", "all", "--ignore-incomplete"]
    subprocess.run(
        [sys.executable, "-m", *command, "--config", f"preset={preset}", "--", *targets],
        check=True,
        stdout=sys.stderr,
    )


def _is_metric(path: str) -> bool:
    return path.endswith("metrics.json")


def _title(path: str) -> str:
    _, preset, _, method, phase, _ = path.split("/")
    return f"{method} {phase} ({preset})"


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.is_file() else "-"


def _marked() -> bool:
    return STAMP.is_file() and STAMP.read_text() == _digest()


def _mark() -> None:
    STAMP.parent.mkdir(parents=True, exist_ok=True)
    STAMP.write_text(_digest())


def main(action: str, preset: str) -> None:
    """Run one of the actions from the command line."""
    if action == "adopt":
        adopt(preset)
    elif action == "generate":
        generate(build(preset), preset)
    elif not check(build(preset), preset):
        sys.exit(f"dvc.yaml: does not match the Snakemake graph; run: python workflow/versioning.py generate {preset}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "demo")
