"""Subcommands that ask what is recorded of a run: verify, explain."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from decofuse.cli.app import PARAMS, app
from decofuse.errors import UserError


@app.command()
def verify() -> None:
    """Compare every artifact that dvc.lock records, and DVC's cache, with their checksums; name what is damaged.

    Exits with status 1 if anything is.
    """
    from decofuse.tracking import verify as library

    report = library.verify()
    for finding in report.findings:
        print(finding)
    logging.getLogger(__name__).info(
        "%d artifacts and %d cache entries compared, %d findings",
        report.artifacts,
        report.entries,
        len(report.findings),
    )
    if report.findings:
        raise typer.Exit(1)


@app.command()
def explain(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Files or rules; left out: everything.", show_default=False)
    ] = None,
    preset: Annotated[str, typer.Option(help="Preset to use instead of the one in params.yaml.")] = "",
) -> None:
    """Say in words why each job that Snakemake would run has to run: which parameter, module, input or output."""
    from decofuse import config

    script = Path("workflow/explain.py")
    if not script.is_file():
        raise UserError(f"{script}: not found; run this in the project's folder")
    chosen = preset or config.load(PARAMS).preset
    done = subprocess.run([sys.executable, script, chosen, *(targets or [])], check=False)
    raise typer.Exit(done.returncode)
