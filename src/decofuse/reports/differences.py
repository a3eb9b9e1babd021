"""What a run does otherwise than the authors of a method did, in words made from the settings."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from decofuse.settings import PatchSettings, Section

AUTHORS_DATA = {
    "cddfuse": "msrs",
    "fsidfusion": "msrs",
    "sfdfuse": "msrs",
    "ssdfusion": "msrs",
    "psfusion": "msrs",
    "defusion": "coco",
    "defusionpp": "coco and msrs",
}
"""What the published weights of a method were trained on, by the name of the method."""


class Difference(NamedTuple):
    """How a run's training of a method differs from the published one.

    Attributes:
        reduced: the network is smaller or a phase shorter than published.
        words: what differs, a clause an entry; empty if nothing does.
    """

    reduced: bool
    words: tuple[str, ...]


def training_differences(method: str, settings: Section, patches: PatchSettings | None, train: str) -> Difference:
    """Compare a method's settings with their defaults, which are the published ones.

    Args:
        method: name of the method, which has phases.
        settings: its section of the parameters: network, phases, fuse.
        patches: how the training patches are cut; None for a method that reads none.
        train: dataset that is trained on.
    """
    theirs = type(settings)().model_dump()
    sections = {name: _changed(ours, theirs[name]) for name, ours in settings.model_dump().items()}
    if patches is not None:
        sections["patches"] = _changed(patches.model_dump(), PatchSettings().model_dump())
    data = AUTHORS_DATA.get(method, train)
    words = [] if data == train else [f"trained on {train}, not {data}"]
    words += [f"{name}: {_clauses(name, changed)}" for name, changed in sections.items() if changed]
    reduced = any(
        _smaller(*pair) for name, changed in sections.items() for key, pair in changed.items() if _decides(name, key)
    )
    return Difference(reduced, tuple(words))


def _changed(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, each with ours and theirs; None where there is no such key."""
    flat, other = dict(_flat(ours)), dict(_flat(theirs))
    return {key: (flat.get(key), other.get(key)) for key in {**flat, **other} if flat.get(key) != other.get(key)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _decides(section: str, key: str) -> bool:
    """Whether a setting says how large a network is or how long it trains; the number of classes is the data's."""
    return (section == "network" and key != "classes") or key == "epochs"


def _clauses(section: str, changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Both values of what says most; only the names of the rest, which would fill a page."""
    told = [key for key in changed if _decides(section, key) or section == "patches"]
    clauses = [f"{key} {_text(changed[key])}" for key in told]
    rest = [key for key in changed if key not in told]
    return ", also ".join(filter(None, (", ".join(clauses), ", ".join(rest))))


def _text(pair: tuple[Any, Any]) -> str:
    ours, theirs = ("/".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in pair)
    return f"{ours} of {theirs}" if _smaller(*pair) else f"{ours}, not {theirs}"


def _smaller(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        return all(_number(value) for value in ours + theirs) and sum(ours) < sum(theirs)
    return _number(ours) and _number(theirs) and bool(ours < theirs)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
