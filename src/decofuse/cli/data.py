"""Subcommands that make data: download, dataset, patches."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decofuse import stages
from decofuse.cli.app import Manifest, Settings, Threads, app, settings_of, tracked
from decofuse.errors import UserError

if TYPE_CHECKING:
    from decofuse.data.dataset import Dataset

LOCKS = Path("workflow/locks")


@app.command()
def download(
    url: Annotated[str, typer.Argument(help="Address of a zip archive.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write.", show_default=False)],
    settings: Annotated[str, typer.Option(help="Parameters to record, as JSON.")] = "{}",
) -> None:
    """Download an archive: resumed after a cut, retried, complete or not there.

    DECOFUSE_MIRROR, a folder or an address, takes the place of the host: https://HOST/PATH is looked for at
    MIRROR/HOST/PATH.
    """
    from decofuse.data.download import download as fetch

    values = settings_of(settings, lambda: {})
    with tracked(f"download {out.stem}", {"url": url, **values}) as run:
        fetch(url, out, os.environ.get("DECOFUSE_MIRROR") or None)
        run.artifact(out)


@app.command()
def dataset(
    name: Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder that gets images/ and manifest.csv.", show_default=False)],
    settings: Settings = "",
    archive: Annotated[Path | None, typer.Option(help="Its archive, or that of the dataset it is made from.")] = None,
    splits: Annotated[Path | None, typer.Option(help="Its split file, if it is public.")] = None,
    threads: Threads = 2,
) -> None:
    """Extract, generate or copy a dataset's images, check them, and pair them into a manifest."""
    values = settings_of(settings, stages.dataset, name)
    section = values.get(f"datasets.{name}")
    inputs = [path for path in (archive, splits) if path]
    with tracked(f"dataset {name}", values, inputs) as run:
        if section is None:
            _public(name, values[f"public.{name}"], archive, splits, out, threads)
        elif section["kind"] == "scenes":
            _scenes(name, section, out, threads)
        elif section["kind"] == "exposures":
            _exposures(name, section, values[f"public.{section['of']}"], archive, splits, out, threads)
        else:
            _own(name, section, out, threads)
        run.artifact(out / "manifest.csv")


@app.command()
def patches(
    manifest: Manifest,
    out: Annotated[Path, typer.Option(help="HDF5 file to write.", show_default=False)],
    settings: Settings = "",
    threads: Threads = 2,
) -> None:
    """Cut the train and val splits of a dataset into HDF5 patches."""
    from decofuse.data.patches import write_patches
    from decofuse.settings import PatchSettings

    values = settings_of(settings, stages.patches)
    with tracked(f"patches {manifest.parent.name}", values, [manifest]) as run:
        summary = write_patches(manifest, PatchSettings(**values["patches"]), out, workers=threads)
        run.log(0, vars(summary))
        run.artifact(out)


def _public(
    name: str, entry: dict[str, Any], archive: Path | None, splits: Path | None, out: Path, threads: int
) -> None:
    from decofuse.data.prepare import prepare

    declared = _declared(entry)
    if declared.kind == "archive" and archive is None:
        raise UserError(f"dataset {name}: expected --archive; download it first: decofuse download {declared.url}")
    source = archive or out / "source"
    prepare(declared, source, out, splits=splits, lock=LOCKS / f"{name}.json", threads=threads)


def _scenes(name: str, section: dict[str, Any], out: Path, threads: int) -> None:
    from decofuse.data.classes import MSRS
    from decofuse.data.dataset import local
    from decofuse.data.prepare import prepare
    from decofuse.data.scenes import write_scenes
    from decofuse.settings import ScenesSettings

    size = ScenesSettings(**{key: value for key, value in section.items() if key != "kind"})
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".scenes-") as folder:
        write_scenes(size, Path(folder), threads)
        prepare(local(name, classes=MSRS.names), Path(folder), out, threads=threads)


def _exposures(
    name: str,
    section: dict[str, Any],
    entry: dict[str, Any],
    archive: Path | None,
    splits: Path | None,
    out: Path,
    threads: int,
) -> None:
    from decofuse.data.exposure_settings import ExposuresSettings
    from decofuse.data.exposures import make_exposures

    source = _declared(entry)
    if archive is None:
        raise UserError(
            f"dataset {name}: expected --archive, that of {source.name}; download it first: decofuse download "
            f"{source.url}"
        )
    settings = ExposuresSettings(**{key: value for key, value in section.items() if key != "kind"})
    lock = LOCKS / f"{source.name}.json"
    make_exposures(name, settings, source, archive, out, splits=splits, lock=lock, threads=threads)


def _declared(entry: dict[str, Any]) -> "Dataset":
    """A public dataset as the settings state it."""
    from decofuse.data.dataset import Dataset

    colours = tuple(tuple(colour) for colour in entry["colours"])
    return Dataset(**{**entry, "classes": tuple(entry["classes"]), "colours": colours})


def _own(name: str, section: dict[str, Any], out: Path, threads: int) -> None:
    from decofuse.data.dataset import local
    from decofuse.data.prepare import prepare

    classes = tuple(str(index) for index in range(section["classes"]))
    prepare(local(name, section["task"], classes), Path(section["path"]), out, threads=threads)
