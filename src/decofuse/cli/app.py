"""What all subcommands share."""

import contextlib
import ctypes
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from decofuse import __version__
from decofuse.errors import UserError

if TYPE_CHECKING:
    import torch

    from decofuse.tracking.run import Tracker

PARAMS = Path("params.yaml")
SKIPPED = 3  # exit code: the work is done but for some inputs, each named on stderr; a script must not miss that

Source = TypeVar("Source", str, Path)

app = typer.Typer(
    help="Reproducible pipelines for decomposition-based image fusion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Settings = Annotated[
    str, typer.Option(help="The stage's parameters as JSON; left out: taken from params.yaml.", show_default=False)
]
Threads = Annotated[int, typer.Option(help="CPU threads to use.", min=1)]
Manifest = Annotated[Path, typer.Option(help="Manifest of the dataset.", show_default=False)]


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    keep_memory: Annotated[
        bool,
        typer.Option(
            help="Keep freed memory instead of giving it back to the system: faster on images from 480x640 on.",
            envvar="DECOFUSE_KEEP_MEMORY",
        ),
    ] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if keep_memory:
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Tell glibc never to map a tensor of its own: mapping and faulting in each large one anew costs most of the time.

    The price is that the process keeps what it once needed. Other C libraries know no such setting, and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # of malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def settings_of(
    given: str, pick: Callable[..., dict[str, Any]], *names: str, only: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The slice of a stage as {dotted key: value}: as given, or picked from params.yaml.

    Args:
        given: the slice as JSON; empty to pick it.
        pick: picks the slice, see `decofuse.stages`.
        names: what else `pick` is given.
        only: parameters that take the place of those of params.yaml, for a stage that is run by itself.

    Raises:
        UserError: it is no JSON object, or params.yaml is wrong.
    """
    if given:
        try:
            values = json.loads(given)
        except json.JSONDecodeError as error:
            raise UserError(f"--settings: expected a JSON object, found {given[:40]!r} ({error.msg})") from error
        if not isinstance(values, dict):
            raise UserError(f"--settings: expected a JSON object, found {given[:40]!r}")
        return values
    from decofuse import config, stages

    try:
        params = config.load(PARAMS).model_copy(update=only)
        return pick(stages.resolve(params), *names)
    except (KeyError, StopIteration) as error:
        raise UserError(f"{PARAMS}: nothing there for {' '.join(names)}; name it under train, test or run") from error


@contextlib.contextmanager
def tracked(
    name: str, params: Mapping[str, Any], inputs: Sequence[Path] = (), resume: Path | None = None
) -> Iterator["Tracker"]:
    """Run a stage below a tracker of its own."""
    from decofuse.tracking.run import Tracker

    with Tracker(name, params, inputs, resume) as tracker:
        yield tracker


def sources_of(
    visible: Source | None, infrared: Source | None, source_a: Source | None, source_b: Source | None
) -> tuple[Source, Source]:
    """The two sources, under whichever names they were given.

    Raises:
        UserError: not one of the two pairs of options.
    """
    if visible is not None and infrared is not None and source_a is None and source_b is None:
        return visible, infrared
    if source_a is not None and source_b is not None and visible is None and infrared is None:
        return source_a, source_b
    raise UserError("expected --visible and --infrared, or --source-a and --source-b; give one of these pairs")


def task_of(task: str, visible: object) -> str:
    """The task: as given, or infrared-visible if there is a visible source.

    Raises:
        UserError: it is needed and not given.
    """
    if not task and visible is None:
        raise UserError("expected --task beside --source-a and --source-b (medical, multi-exposure, multi-focus)")
    return task or "infrared-visible"


def choose_device(name: str, threads: int) -> "torch.device":
    """Choose the device and the number of threads: here and nowhere else.

    Raises:
        UserError: `name` is cuda, and there is none.
    """
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: expected a CUDA device, found none; choose auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # Of several processes that train together on a machine, each has a GPU of its own.
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
