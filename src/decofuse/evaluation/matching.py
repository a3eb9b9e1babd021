"""Which images of several folders show the same scene: those of one name, the suffix aside."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from decofuse.data.images import SUFFIXES
from decofuse.errors import UserError
from decofuse.text import listed, printable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftOut:
    """Something that was not scored.

    Attributes:
        image: name of the scene, without suffix.
        method: whose fused image was left out; empty: the scene as a whole, or a metric of all methods.
        metric: which value is missing; empty: all of them.
        reason: one line: which file, what was expected, what was found, what to do.
    """

    image: str
    method: str
    metric: str
    reason: str


@dataclass(frozen=True)
class Scene:
    """A pair of sources, and the fused image of each method that has one."""

    name: str
    sources: tuple[Path, Path]
    fused: dict[str, Path]


def match(source_a: Path, source_b: Path, fused: Mapping[str, Path]) -> tuple[list[Scene], list[LeftOut]]:
    """Match the images that lie directly in the folders by their names without suffix, case included.

    Args:
        source_a: folder of the first sources.
        source_b: folder of the second sources.
        fused: folder of the fused images by method.

    Returns:
        The scenes that have both sources and a fused image of at least one method, sorted by name; and what was left
        out.

    Raises:
        UserError: a folder is missing or has no images, or nothing matches.
    """
    left: list[LeftOut] = []
    first, second = _images(source_a, "", left), _images(source_b, "", left)
    twice = {entry.image for entry in left}
    both, anywhere = first.keys() & second.keys(), first.keys() | second.keys() | twice
    for folder, others, own in ((source_a, second, first), (source_b, first, second)):
        reason = f"{printable(str(folder))}: expected images named as the other sources"
        left += [LeftOut(name, "", "", reason) for name in sorted(others.keys() - own.keys() - twice)]
    scenes = {name: Scene(name, (first[name], second[name]), {}) for name in sorted(both)}
    for method, folder in fused.items():
        before = len(left)
        images = _images(folder, method, left)
        unclear = {entry.image for entry in left[before:]}
        for name in scenes.keys() & images.keys():
            scenes[name].fused[method] = images[name]
        lacking, extra = sorted(both - images.keys() - unclear), sorted(images.keys() - anywhere)
        place = printable(str(folder))
        left += [LeftOut(name, method, "", f"{place}: expected images named as the sources") for name in lacking]
        left += [LeftOut(name, method, "", f"{place}: expected sources for every fused image") for name in extra]
    matched = [scene for scene in scenes.values() if scene.fused]
    if not matched:
        folders = ", ".join(map(str, (source_a, source_b, *fused.values())))
        raise UserError(f"expected images of one name in {printable(folders)}, found none; rename them alike")
    return matched, left


def warn(left: Iterable[LeftOut]) -> None:
    """Log a warning for each reason, with the first of the images that it concerns."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for entry in left:
        by_reason.setdefault((entry.reason, entry.metric), []).append(entry.image)
    for (reason, metric), names in by_reason.items():
        what = f"no {metric} of" if metric else "left out"
        logger.warning("%s; %s: %s", reason, what, listed(names))


def _images(folder: Path, method: str, left: list[LeftOut]) -> dict[str, Path]:
    """The images of a folder by name; names that two files share are left out."""
    place = printable(str(folder))
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError as error:
        raise UserError(f"{place}: expected a folder of images, found {error.strerror}; check the path") from error
    if not files:
        raise UserError(f"{place}: expected images ({', '.join(SUFFIXES)}), found none; check the path")
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(path.stem, []).append(path)
    for name, paths in by_name.items():
        if len(paths) > 1:
            found = printable(" and ".join(path.name for path in paths))
            reason = f"{place}: expected one image of a name, found {found}; remove all but one"
            left.append(LeftOut(name, method, "", reason))
    return {name: paths[0] for name, paths in by_name.items() if len(paths) == 1}
