"""The registry of methods: what each is, and the typed section that it has in params.yaml.

It is an edge: stages are handed what they need from it and do not import it, so that a new entry makes
nothing run again. It imports no torch, so that reading params.yaml stays cheap.
"""

from collections.abc import Mapping

from decofuse.models.registry import (
    cddfuse,
    defusion,
    defusionpp,
    fsidfusion,
    psfusion,
    reference,
    sfdfuse,
    ssdfusion,
)
from decofuse.models.registry.method import Method, MethodSettings

__all__ = ["METHODS", "Method", "MethodSettings"]

METHODS: Mapping[str, Method] = {
    "average": reference.AVERAGE,
    "laplacian": reference.LAPLACIAN,
    "cddfuse": cddfuse.METHOD,
    "fsidfusion": fsidfusion.METHOD,
    "sfdfuse": sfdfuse.METHOD,
    "ssdfusion": ssdfusion.METHOD,
    "psfusion": psfusion.METHOD,
    "defusion": defusion.METHOD,
    "defusionpp": defusionpp.METHOD,
}
