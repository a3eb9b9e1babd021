"""Subcommand that puts all results of a run on one page."""

from pathlib import Path
from typing import Annotated

import typer

from decofuse import stages
from decofuse.cli.app import Settings, app, settings_of, tracked


@app.command()
def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Artifacts of the run and Snakemake's benchmark files; others are left out.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="HTML to write.", show_default=False)],
    settings: Settings = "",
) -> None:
    """Put all results of a run on one page: tables, charts, pictures, curves, time and memory."""
    values = settings_of(settings, stages.report)
    from decofuse.reports.differences import Difference
    from decofuse.reports.run_files import sort_files
    from decofuse.reports.run_report import About, write_report
    from decofuse.reports.tracked import find_tracked
    from decofuse.tracking.code import code_version
    from decofuse.tracking.run import flatten

    chosen = sort_files(files)
    code = flatten({key.removeprefix("code."): digest for key, digest in values.items() if key.startswith("code.")})
    commit = code_version()
    changed = ", with changes" if commit.get("git.changed") == "True" else ""
    with tracked("report", values, [*chosen.manifests, *chosen.averages]) as run:
        about = About(
            values["preset"],
            values["seed"],
            values["train"],
            tuple(values["run"]),
            {name: Difference(its["reduced"], tuple(its["words"])) for name, its in values["differences"].items()},
            code,
            f"commit {commit['git.commit']}{changed}" if commit else "",
            find_tracked(),
        )
        write_report(chosen, about, out)
        run.artifact(out)
