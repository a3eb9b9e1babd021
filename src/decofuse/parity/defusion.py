"""DeFusion's golden vector: its form, and what this project computes for each of its keys."""

import numpy as np
import torch
from torch import Tensor

from decofuse.data.degraded_views import Grids, degrade, extra_cells, masks
from decofuse.errors import UserError
from decofuse.models.defusion import UPSTREAM, DeFusion, cud_terms
from decofuse.models.registry.defusion import DeFusionWeights
from decofuse.parity.golden import Array, Golden
from decofuse.parity.probes import backward, recorded, tensor_norms
from decofuse.parity.tolerance import Rule, absolute, either, relative

CASES = {"a": "", "b": "", "deep": "deep"}  # case -> part of the manifest with its network
IMAGES = ("common", "unique1", "unique2", "fused")
STAGES = {
    "encoder": ("encoder_upper.2", "upper_encoder_layer1", "upper_encoder_layer2", "upper_encoder_layer3"),
    "joint": ("common_encoder.0",),
    "common": tuple(f"decoder_common_layer{level}" for level in ("1", "2", "3", "4.0")),
    "unique": tuple(f"decoder_upper_layer{level}" for level in ("1", "2", "3", "4.0")),
}

INPUTS = frozenset(
    {f"{case}/{name}" for case in CASES for name in ("x1_u8", "x2_u8", "m1", "m2", "gt_u8", "its", "grad_it")}
    | {f"cud/{name}" for name in ("img_u8", "grid_sizes", "u_p", "u_pick", "u_swap", "noise1", "noise2")}
    | {f"cud/draw{number}" for number in range(5)}
)
RULES = (
    Rule("cud/m?", absolute(0), absolute(0)),
    Rule("cud/x?", absolute(1e-7), absolute(1e-7)),
    Rule("*_mean", absolute(5e-6), absolute(1e-6)),
    Rule("*/losses", relative(1e-5), relative(1e-6)),
    Rule("*/gradnorm", either(absolute(1e-5), relative(1e-4)), absolute(1e-5)),
    Rule("*/common*", absolute(2e-5), absolute(1e-5)),
    Rule("*/unique*", absolute(2e-5), absolute(1e-5)),
    Rule("*/fused*", absolute(2e-5), absolute(1e-5)),
)


def rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of all keys; the vector itself is float32, which bounds what float64 can agree to."""
    del golden  # they hold for any size
    return RULES


def probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector, in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of DeFusion's form.
    """
    found: dict[str, Array] = {}
    for case in CASES:
        if f"{case}/x1_u8" in golden.arrays:
            found |= {f"{case}/{key}": value for key, value in _case(golden, case, dtype).items()}
    if not found:
        raise UserError(f"{golden.vector}: expected a/x1_u8, found nothing; give DeFusion's vector")
    return found | (_views(golden) if "cud/img_u8" in golden.arrays else {})


def build(golden: Golden, part: str, dtype: torch.dtype) -> DeFusion:
    """The network of the sizes and weights of a part of the manifest.

    Raises:
        UserError: the manifest is not DeFusion's.
    """
    names = golden.shapes.get(part, {})
    blocks = {
        module: tuple(
            sum(name.startswith(f"{run}.") and name.endswith(".conv3.weight") for name in names) for run in runs
        )
        for module, runs in STAGES.items()
    }
    try:
        with torch.device("meta"):
            network = DeFusion(
                width=names["encoder_upper.0.weight"][0],
                encoder_blocks=blocks["encoder"] + blocks["joint"],
                common_blocks=blocks["common"],
                unique_blocks=blocks["unique"],
            )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{golden.manifest}: expected DeFusion's manifest, found another; give defusion.json"
        ) from error
    golden.load(network, UPSTREAM, dtype, {"": names})
    return network


def _case(golden: Golden, case: str, dtype: torch.dtype) -> dict[str, Array]:
    """What one pair gives: images, means of features, and losses where the vector has masks."""
    views = [_images(golden, f"{case}/{name}", dtype) for name in ("x1_u8", "x2_u8")]
    if views[0].shape != views[1].shape:
        raise UserError(f"{golden.vector}: expected {case}/x1_u8 and x2_u8 of one size; get the file again")
    network = build(golden, CASES[case], dtype)
    with torch.no_grad():
        found = _outputs(network, *views)
    if f"{case}/gt_u8" in golden.arrays:
        found |= _losses(golden, case, network, views)
    return found


def _outputs(network: DeFusion, view_a: Tensor, view_b: Tensor) -> dict[str, Array]:
    modules = {name: network.get_submodule(name) for name in ("encoder", "joint_encoder")}
    with recorded(modules) as features:
        embeddings = network.embed(view_a, view_b)
    common, unique1, unique2 = embeddings
    of_first = [level[: len(view_a)] for level in features["encoder"]]
    means = {
        **{f"enc{number}_x1": level for number, level in enumerate(of_first, start=1)},
        "feat_common": features["joint_encoder"],
        "emb_common": common,
        "emb_unique1": unique1,
        "emb_unique2": unique2,
    }
    images: dict[str, Tensor] = {}
    shown, raw = network(view_a, view_b), network.show(embeddings)
    for name, image, before in zip(IMAGES, shown, raw, strict=True):
        images |= {name: image, f"{name}_pre": before}
    images["common_uhead"] = network(view_a, view_b, common_head="unique").common
    images["common_uhead_pre"] = network.show(embeddings, common_head="unique").common
    found = {f"{name}_mean": maps.mean(dim=(2, 3)).numpy() for name, maps in means.items()}
    return found | {name: image.numpy() for name, image in images.items()}


def _losses(golden: Golden, case: str, network: DeFusion, views: list[Tensor]) -> dict[str, Array]:
    """The loss at some steps, and the gradient at one."""
    image = _images(golden, f"{case}/gt_u8", views[0].dtype)
    shown = [golden.array(f"{case}/{name}", (None, None, None), "u") for name in ("m1", "m2")]
    masks_ab = [torch.from_numpy(mask).to(image.dtype)[:, None] for mask in shown]
    if any(mask.shape[0::2] != image.shape[0::2] or mask.shape[3] != image.shape[3] for mask in masks_ab):
        raise UserError(f"{golden.vector}: expected {case}/m1, m2 and gt_u8 of one size; get the file again")
    batch = dict(zip(("view_a", "view_b", "image", "mask_a", "mask_b"), (*views, image, *masks_ab), strict=True))
    weights, rows = DeFusionWeights(), []
    with torch.no_grad():
        for step in golden.array(f"{case}/its", (None,), "i").tolist():
            terms = cud_terms(network, {**batch, "step": torch.tensor(step)})
            values = [terms[name].item() for name in weights.model_dump()]
            rows.append([*(value / len(image) for value in values), sum(values)])
    step = golden.array(f"{case}/grad_it", (), "i")
    backward(network, cud_terms(network, {**batch, "step": torch.tensor(step.item())}), weights)
    names = (UPSTREAM.translate("", name) for name in golden.shapes[CASES[case]])
    return {"losses": np.array(rows), "gradnorm": tensor_norms(network, names)}


def _views(golden: Golden) -> dict[str, Array]:
    """The degraded views of given draws."""
    image = _scaled(golden.array("cud/img_u8", (3, None, None), "u"))
    size = image.shape[1]
    draws = [golden.array(f"cud/draw{number}", (None, None), "u").astype(bool) for number in range(5)]
    pick, swap = (float(golden.array(f"cud/{name}", (), "f")) for name in ("u_pick", "u_swap"))
    coarse, fine, third = golden.array("cud/grid_sizes", (3,), "i").tolist()
    expected = [coarse, fine, coarse, fine, extra_cells(pick, (coarse, fine, third))]
    noise = [golden.array(f"cud/noise{number}", (3, size, size), "f") for number in (1, 2)]
    if [draw.shape for draw in draws] != [(cells, cells) for cells in expected] or image.shape[2] != size:
        raise UserError(f"{golden.vector}: expected cud/draw0 to draw4 of {expected} cells; get the file again")
    shown = masks(Grids(*draws), swap, size)
    views = [degrade(image, mask, normal) for mask, normal in zip(shown, noise, strict=True)]
    return {"cud/m1": shown[0], "cud/m2": shown[1], "cud/x1": views[0], "cud/x2": views[1]}


def _images(golden: Golden, key: str, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(_scaled(golden.array(key, (None, 3, None, None), "u"))).to(dtype)


def _scaled(levels: Array) -> Array:
    scaled: Array = levels.astype(np.float32) / np.float32(255)
    return scaled
