"""Makes the parts of the docs that state facts of the code; `--check` says whether they are current.

- docs/params.schema.json: completes params.yaml in editors
- docs/parameters.md: every parameter, its default and its meaning
- docs/datasets.md: the public datasets
- docs/metrics.md: the metrics, their formulas and conventions
- docs/methods.md: the methods, what they take and give, and what was published of them
- README.md, between the diagram's markers: the stages, from the workflow's own graph

`--results` copies what the README shows of the demo's results, after a run, to docs/demo.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

import methods  # noqa: E402 - beside this file
import metrics_page  # noqa: E402 - beside this file
import versioning  # noqa: E402 - lies in the workflow's folder

from decofuse import config  # noqa: E402
from decofuse.data.registry import DATASETS  # noqa: E402

MARKERS = ("<!-- stages: made by docs/generate.py -->", "<!-- end of stages -->")


def generated() -> dict[Path, str]:
    """Every generated text by path."""
    readme = ROOT / "README.md"
    before, after = (re.escape(marker) for marker in MARKERS)
    diagram = "\n".join([MARKERS[0], diagram_of_stages(), MARKERS[1]])
    return {
        ROOT / "docs/params.schema.json": json.dumps(config.schema(), indent=2) + "\n",
        ROOT / "docs/parameters.md": parameters(),
        ROOT / "docs/datasets.md": datasets(),
        ROOT / "docs/methods.md": methods.page(ROOT),
        ROOT / "docs/metrics.md": metrics_page.page(),
        readme: re.sub(f"{before}.*{after}", lambda _: diagram, readme.read_text(), flags=re.DOTALL),
    }


def parameters() -> str:
    """A table of all parameters."""
    rows = [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in _fields(config.Params, "")]
    return "\n".join(
        [
            "# Parameters",
            "",
            "Made from the models by `make docs`. What `params.yaml` says wins over the preset, which wins over these",
            "defaults; the defaults of a method are its published settings. `decofuse config` shows the outcome.",
            "",
            "| key | default | meaning |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def datasets() -> str:
    """A table of the public datasets."""
    rows = []
    for entry in DATASETS.values():
        source = f"`{entry.repository}` on GitHub" if entry.repository else f"[by hand]({entry.page})"
        labels = f"{len(entry.classes)} classes" if entry.classes else "–"
        cells = (f"`{entry.name}`", entry.task, ", ".join(entry.sources), labels, source, entry.about)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "# Public datasets",
            "",
            "Made from `src/decofuse/data/registry.py` by `make docs`. They need no section in `params.yaml`: name one",
            "under `train` or `test`. A dataset that has to be fetched by hand goes to `data/<name>/source`; the",
            "`dataset` stage says which files it expects there.",
            "",
            "| name | task | sources | labels | from | licence and citation |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def diagram_of_stages() -> str:
    """The rules and how they feed each other, as a Mermaid flow chart."""
    os.chdir(ROOT)
    dag = versioning.build("msrs")
    edges = {
        (before.rule.name, job.rule.name)
        for job in dag.jobs
        for before in dag.dependencies[job]
        if job.rule.name not in ("all", "report", before.rule.name)  # these two take from all the others
    }
    lines = [f"    {before} --> {after}" for before, after in sorted(edges)]
    again = sorted({job.rule.name for job in dag.jobs for b in dag.dependencies[job] if b.rule.name == job.rule.name})
    lines += [f"    {name} -- next phase --> {name}" for name in again]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def _fields(model: type[BaseModel], prefix: str, defaults: BaseModel | None = None) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        value: Any = getattr(defaults, name) if defaults else field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            yield from _fields(type(value), f"{prefix}{name}.", value)
        elif name == "datasets":
            yield f"{prefix}{name}", "`{}`", field.description or ""
            for kind in (config.Scenes, config.Folder):
                shown = kind.__name__.lower()
                yield from ((f"{prefix}{name}.NAME.{k}", d, f"{m} (kind {shown})") for k, d, m in _fields(kind, ""))
        else:
            default = "required" if field.is_required() else f"`{json.dumps(value)}`"
            yield f"{prefix}{name}", default, field.description or ""


def show_results() -> None:
    """Copy the demo's scores and, made smaller, its pictures; `source.json` says of which files they are."""
    results, shown = ROOT / "results/demo", ROOT / "docs/demo"
    shown.mkdir(exist_ok=True)
    pictures = ("grid-scenes", "overlays-scenes")
    names = ("metrics.md", "segmentation.md", "segmentation.png", *(f"{name}.png" for name in pictures))
    (shown / "metrics.md").write_bytes((results / "metrics.md").read_bytes())
    (shown / "segmentation.png").write_bytes((results / "segmentation.png").read_bytes())
    page = (results / "segmentation.md").read_text().replace("(overlays-scenes.png)", "(overlays-scenes.jpg)")
    (shown / "segmentation.md").write_text(page)
    for name in pictures:
        with Image.open(results / f"{name}.png") as picture:
            small = picture.resize((1400, picture.height * 1400 // picture.width), Image.Resampling.LANCZOS)
            small.save(shown / f"{name}.jpg", quality=82)
    digests = {name: hashlib.md5((results / name).read_bytes(), usedforsecurity=False).hexdigest() for name in names}
    (shown / "source.json").write_text(json.dumps(digests, indent=2) + "\n")


def main() -> None:
    """Write what changed, or with `--check` only name it."""
    if "--results" in sys.argv:
        show_results()
    stale = {path: text for path, text in generated().items() if not path.is_file() or path.read_text() != text}
    if "--check" not in sys.argv:
        for path, text in stale.items():
            path.write_text(text)
    elif stale:
        sys.exit(f"not current: {', '.join(str(path.relative_to(ROOT)) for path in stale)}; run: make docs")


if __name__ == "__main__":
    main()
