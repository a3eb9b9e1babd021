"""The report of a run: one self-contained HTML file with all that a person looks at afterwards."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from decofuse.data.manifest import SPLITS, Manifest
from decofuse.files import sha256, write_text
from decofuse.models.registry import METHODS
from decofuse.reports import benchmark, run_sections
from decofuse.reports.differences import Difference
from decofuse.reports.page import Cell
from decofuse.reports.results import Entry, Results, read_results
from decofuse.reports.run_files import RunFiles
from decofuse.reports.run_html import Section, details, document, grid_of, items, link, terms, text
from decofuse.segmentation.scores import read_scores


@dataclass(frozen=True)
class Tracked:
    """Where MLflow shows the run, once its server is up: address by what is found there, and of each stage."""

    pages: Mapping[str, str]
    stages: Mapping[str, str]


@dataclass(frozen=True)
class About:
    """What decided the results of a run.

    Attributes:
        preset: its name.
        seed: its seed.
        train: dataset that was trained on.
        methods: names of the methods.
        differences: how the training of each method that has one differs from the published one.
        code: digest of the code of each stage.
        commit: commit of the working copy, in words; empty outside of git.
        tracked: where MLflow shows the run; None if it was not tracked.
    """

    preset: str
    seed: int
    train: str
    methods: tuple[str, ...]
    differences: Mapping[str, Difference]
    code: Mapping[str, str]
    commit: str = ""
    tracked: Tracked | None = None


def write_report(files: RunFiles, about: About, out: Path) -> None:
    """Write the page; what the run has nothing of is left out.

    Args:
        files: what is shown; scores of fused images there must be.
        about: the run.
        out: where the HTML goes.

    Raises:
        UserError: a file is missing or of another kind.
    """
    results = read_results([Entry(path.parent.name, path.parent.parent.name, path) for path in files.averages])
    scores = [read_scores(path) for path in files.segmentation]
    methods = _only(results, about.methods)
    run = benchmark.Run(about.preset, about.seed, about.differences)
    tables = benchmark.build(methods, (), run)
    sections = (
        Section("run", "What ran", _what_ran(files, about)),
        Section("metrics", "Fusion metrics", run_sections.metrics(methods, tables)),
        Section("pictures", "Pictures", run_sections.pictures(files.grids)),
        Section("segmentation", "Segmentation", run_sections.segmentation(scores, files)),
        Section("rounds", "Rounds", run_sections.rounds(results, scores)),
        Section("curves", "Training curves", run_sections.curves(files)),
        Section("costs", "Time and memory", run_sections.costs(files.benchmarks, about.preset)),
    )
    write_text(out, document(f"Run of the preset {about.preset}", sections))


def _only(results: Results, methods: Sequence[str]) -> Results:
    """The results of the methods themselves, without those of their rounds."""
    datasets = {
        dataset: {method: averages for method, averages in rows.items() if method in methods}
        for dataset, rows in results.datasets.items()
    }
    return Results(results.metrics, results.conventions, datasets)


def _what_ran(files: RunFiles, about: About) -> str:
    titles = [METHODS[name].title if name in METHODS else name for name in about.methods]
    facts = [("preset", text(about.preset)), ("seed", str(about.seed)), ("methods", text(", ".join(titles)))]
    facts += [("trained on", text(about.train))]
    facts += [("code", text(about.commit))] if about.commit else []
    software = f"Python {platform.python_version()}, PyTorch {version('torch')}, {platform.system()}"
    facts += [("software", text(software)), ("written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")]
    if about.tracked:
        links = (link(address, words) for words, address in about.tracked.pages.items())
        facts.append(("MLflow", f"{', '.join(links)}; start its server first, here with <code>make ui</code>"))
    trainings = [(name, "; ".join(its.words)) for name, its in about.differences.items() if its.words]
    code = grid_of(("stage", "digest"), [(stage, [digest]) for stage, digest in about.code.items()])
    return "\n".join(
        [
            terms(facts),
            _data(files.manifests),
            details("How the training differs from the published one", items(trainings)),
            details("Digests of the code of each stage", code if about.code else ""),
            details("Stages of this run in MLflow", _tracked_stages(about.tracked)),
        ]
    )


def _data(manifests: Sequence[Path]) -> str:
    """Datasets with their pairs; the digest of a manifest, which lists that of every image, stands for all of them."""
    rows: list[tuple[str, list[str | Cell]]] = []
    for path in manifests:
        manifest = Manifest.read(path)
        counts = (Cell(str(len(manifest.split(split)))) for split in SPLITS)
        rows.append((path.parent.name, [*counts, sha256(path)]))
    return grid_of(("dataset", *SPLITS, "SHA-256 of the manifest, which lists that of every image"), rows)


def _tracked_stages(tracked: Tracked | None) -> str:
    if tracked is None or not tracked.stages:
        return ""
    return f"<ul>{''.join(f'<li>{link(address, name)}</li>' for name, address in tracked.stages.items())}</ul>"
