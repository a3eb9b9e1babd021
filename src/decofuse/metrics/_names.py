"""Names that callers give: of metrics and conventions."""

import difflib
from collections.abc import Iterable


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        ValueError: says which are known, and which one is near.
    """
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"expected a {kind} of {', '.join(names)}, found {name!r}{hint}")
