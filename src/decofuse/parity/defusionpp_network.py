"""The networks of DeFusion++'s golden vector, of the manifest's sizes and weights.

Heads do not show in the shapes of tensors; those of the vector are constants here.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from decofuse.errors import UserError
from decofuse.models.defusionpp import PHASES, UPSTREAM, DeFusionPP
from decofuse.parity.golden import Golden

SMALL_HEADS, NATIVE_HEADS = (4, 6, 8), (6, 12, 16)  # of the encoder, of its last block, of all other parts
TEACHER_HEADS = {"heads": 4, "decoder_heads": 4}
TINY_TEACHER = {"width": 4, "depth": 1, "heads": 1, "decoder_width": 4, "decoder_depth": 1, "decoder_heads": 1}


def build(golden: Golden, dtype: torch.dtype) -> DeFusionPP:
    """The reduced network with its teachers, of the manifest's sizes and weights.

    Raises:
        UserError: the manifest is not DeFusion++'s.
    """
    size = golden.array("small/x1_u8", (None, 3, None, None), "u").shape[-1]
    try:
        shapes = {**golden.shapes["small"], **golden.shapes["small_mm"]}
        prefix = "model_encoder1."
        teacher = {
            "width": shapes[f"{prefix}cls_token"][2],
            "depth": _count(shapes, rf"{prefix}blocks\.\d+\.norm1\.weight"),
            "decoder_width": shapes[f"{prefix}mask_token"][2],
            "decoder_depth": _count(shapes, rf"{prefix}decoder_blocks\.\d+\.norm1\.weight"),
            **TEACHER_HEADS,
        }
        network = _empty(shapes, size, SMALL_HEADS, teacher)
    except (KeyError, ValueError, IndexError) as error:
        raise _foreign(golden) from error
    golden.load(network, UPSTREAM, dtype, {"": shapes})
    return network.to(dtype).eval()


def build_native(golden: Golden, dtype: torch.dtype) -> DeFusionPP:
    """The network of the published sizes; its teachers and predictors are no part of the vector and stay unfilled.

    Raises:
        UserError: the manifest is not DeFusion++'s.
    """
    size = golden.array("native/x1_u8", (None, 3, None, None), "u").shape[-1]
    try:
        shapes = golden.shapes[""]
        network = _empty(shapes, size, NATIVE_HEADS, TINY_TEACHER)
    except (KeyError, ValueError, IndexError) as error:
        raise _foreign(golden) from error
    filled = nn.ModuleDict({name: network.get_submodule(name) for name in PHASES["cud"].trains})
    golden.load(filled, UPSTREAM, dtype, {"": shapes})
    return network.to(dtype).eval()


def _empty(
    shapes: Mapping[str, tuple[int, ...]], size: int, heads: tuple[int, int, int], teacher: Mapping[str, int]
) -> DeFusionPP:
    width, _, patch, _ = shapes["encoder.patch_embed.proj.weight"]
    return DeFusionPP(
        size,
        patch,
        width=width,
        depth=_count(shapes, r"encoder\.blocks\.\d+\.norm1\.weight"),
        mlp_ratio=shapes["encoder.blocks.0.mlp.fc1.weight"][0] // width,
        heads=heads[0],
        last_heads=heads[1],
        decoder_heads=heads[2],
        teacher=teacher,
    )


def _count(names: Iterable[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def _foreign(golden: Golden) -> UserError:
    return UserError(f"{golden.manifest}: expected DeFusion++'s manifest, found another; give defusionpp.json")
