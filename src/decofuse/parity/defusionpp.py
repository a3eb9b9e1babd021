"""DeFusion++'s golden vector: its form, and what this project computes for each of its keys."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from decofuse.models.defusionpp import UPSTREAM, DeFusionPP, Pretext, Shown, pair_terms, pretext_terms
from decofuse.models.defusionpp_blocks import Direction
from decofuse.models.mae import masked_patch_loss
from decofuse.models.registry.defusionpp import DeFusionPPCudWeights
from decofuse.models.vit import choose, interpolate_table, normalise, patchify
from decofuse.parity.defusionpp_network import build, build_native
from decofuse.parity.golden import Array, Golden
from decofuse.parity.tolerance import Rule, Tolerance, absolute, either, relative

INPUTS = frozenset(
    {
        *(f"{case}/{name}" for case in ("small", "native") for name in ("x1_u8", "x2_u8", "mask_noise")),
        *(f"small/{name}" for name in ("m1", "m2", "gt_u8")),
        *(f"loss/{name}" for name in ("rec", "common", "unique1", "unique2", "fused")),
        "attn/a",
        "attn/b",
    }
)
DIRECTIONS: tuple[Direction, ...] = ("12", "21")
ROW, COLUMN, STEP = 5, 9, 16  # of the pixels that are stored of the native outputs


def rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of all keys, the first match counts; they hold for any `golden`.

    The published code ran in float32, so both precisions have the same.
    """
    limits: Mapping[str, Tolerance] = {
        "small/ids_*": absolute(0),
        "small/enc_*": absolute(5e-5),
        "small/tok_*": absolute(5e-5),
        "small/losses": relative(1e-5),
        "small/gradnorm": either(relative(1e-4), absolute(1e-3)),
        "small/*": absolute(2e-4),
        "loss/grad_fused": absolute(3e-4),
        "loss/*": relative(5e-5),
        "mm/losses": relative(1e-5),
        "mm/gradnorm": either(relative(1e-4), absolute(1e-5)),
        "mm/fused_noskip_12": absolute(2e-4),
        "mm/*": absolute(5e-5),
        "attn/*": absolute(2e-5),
        "mae/mask": absolute(0),
        "mae/loss*": relative(1e-5),
        "mae/*": absolute(5e-5),
        "pos/table*": absolute(1e-6),
        "pos/*": absolute(1e-5),
        "native/*_std": relative(1e-5),
        "native/*_sub": absolute(2e-4),
    }
    return tuple(Rule(pattern, limit, limit) for pattern, limit in limits.items())


def probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector that depends on the network, in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of DeFusion++'s form.
    """
    small = build(golden, dtype)
    first, second, noise = _inputs(golden, "small", small, dtype)
    with torch.no_grad():
        found = {
            **_tokens(small, first, second, noise),
            **_attention(golden, small, dtype),
            **_autoencoder(small, first, noise),
            **_positions(golden, small),
        }
    found |= _pretext_losses(golden, small, (first, second, noise), dtype)
    found |= _pair_losses(golden, small, first, second)
    return {key: value.detach().numpy() for key, value in (found | _native(golden, dtype)).items()}


def _native(golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    """The outputs of the published sizes; the teachers have no part in them."""
    network = build_native(golden, dtype)
    first, second, noise = _inputs(golden, "native", network, dtype)
    with torch.no_grad():
        images = _named(network(first, second, "12", noise))
    found = {}
    for name, image in images.items():
        found[f"native/{name}_sub"] = image[..., ROW::STEP, COLUMN::STEP]
        found[f"native/{name}_std"] = image.std().reshape(1)
    return found


def _image(golden: Golden, key: str, dtype: torch.dtype, n: int | None = None, size: int | None = None) -> Tensor:
    """An image N×3×S×S in [0, 1], divided in float32 as in the published code."""
    return (torch.from_numpy(golden.array(key, (n, 3, size, size), "u")).float() / 255).to(dtype)


def _inputs(golden: Golden, case: str, network: DeFusionPP, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Both images and the noise of the masks of a case."""
    first = _image(golden, f"{case}/x1_u8", dtype)
    n, _, _, size = first.shape
    second = _image(golden, f"{case}/x2_u8", dtype, n, size)
    first = _image(golden, f"{case}/x1_u8", dtype, n, size)
    noise = golden.array(f"{case}/mask_noise", (n, (size // network.patch) ** 2), "f")
    return first, second, torch.from_numpy(noise)


def _named(pretext: Pretext) -> dict[str, Tensor]:
    shown = pretext.shown
    return {
        "rec": pretext.reconstruction,
        "common": shown.common,
        "unique1": shown.unique_a,
        "unique2": shown.unique_b,
        "fused": shown.fused,
    }


def _tokens(network: DeFusionPP, first: Tensor, second: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Tokens and images of both directions."""
    choice = choose(noise)
    encoded = network.encoder(normalise(first))
    found: dict[str, Tensor] = {
        "small/ids_keep": choice.keep,
        "small/ids_restore": choice.restore,
        **{f"small/enc_x1_{key}": tokens for key, tokens in zip(("first", "second", "last"), encoded, strict=True)},
    }
    for direction in reversed(DIRECTIONS):
        parts = network.take_apart(first, second, direction)
        found[f"small/tok_common_{direction}"], found[f"small/tok_rcommon_{direction}"] = parts.common
        images = _named(network(first, second, direction, noise))
        found |= {f"small/{name}_{direction}": images[name] for name in ("common", "fused", "rec")}
    network.fuse_skip = False
    found["mm/fused_noskip_12"] = network(first, second, "12", noise).shown.fused
    network.fuse_skip = True
    return found | {
        "small/tok_unique1": parts.unique_first.deep,
        "small/tok_unique2": parts.unique_second.deep,
        "small/tok_runique1": parts.unique_first.shallow,
        "small/tok_runique2": parts.unique_second.shallow,
        "small/tok_fuse": network.fusion(parts).tokens,
        "small/tok_fuse_masked": network.fusion(parts.kept(choice)).tokens,
        "small/unique1": images["unique1"],
        "small/unique2": images["unique2"],
    }


def _attention(golden: Golden, network: DeFusionPP, dtype: torch.dtype) -> dict[str, Tensor]:
    """Attention between two random sequences, and a block."""
    tokens = golden.array("attn/a", (None, None, network.encoder.class_token.shape[-1]), "f")
    a = torch.from_numpy(tokens).to(dtype)
    b = torch.from_numpy(golden.array("attn/b", tokens.shape, "f")).to(dtype)
    level = network.decomposition.deep
    return {
        "attn/common_ab": level.common(a, b),
        "attn/unique_ab": level.unique(a, b),
        "attn/mha_unique_ab": level.unique.attend(a, b),
        "attn/block_a": network.fusion.refine[0](a),
    }


def _autoencoder(network: DeFusionPP, images: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """The infrared teacher as an autoencoder, of images that are not normalised."""
    teacher = network.teacher_infrared
    filled = teacher(images, noise)
    return {
        "mae/full": teacher.tokens(images),
        "mae/mask": filled.mask,
        "mae/latent": filled.latent,
        "mae/pred": filled.predicted,
        "mae/patchify": patchify(images, network.patch),
        "mae/loss": masked_patch_loss(images, filled, network.patch, normalise_patches=False),
        "mae/loss_normpix": masked_patch_loss(images, filled, network.patch, normalise_patches=True),
    }


def _positions(golden: Golden, network: DeFusionPP) -> dict[str, Tensor]:
    """Position tables, and those for other grids that the vector has keys of."""
    table = network.encoder.table
    found = {
        "pos/table": table,
        "pos/table_mae": network.teacher_infrared.encoder.table,
        "pos/table_mae_dec": network.teacher_infrared.decoder.table,
    }
    for key in golden.arrays:
        if match := re.fullmatch(r"pos/interp_(\d+)x(\d+)", key):
            found[key] = interpolate_table(table, int(match[1]), int(match[2]))
        elif match := re.fullmatch(r"pos/resize_(\d+)", key):
            found[key] = interpolate_table(table, int(match[1]), int(match[1]), excess=0)
    return found


def _pretext_losses(
    golden: Golden, network: DeFusionPP, inputs: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    """The loss on degraded views: of the network's images, and of given ones."""
    first, second, noise = inputs
    n, size = first.shape[0], first.shape[-1]
    batch = {
        "image": _image(golden, "small/gt_u8", dtype, n, size),
        **{
            f"mask_{ours}": torch.from_numpy(golden.array(f"small/{theirs}", (n, size, size), "u"))[:, None].to(dtype)
            for ours, theirs in (("a", "m1"), ("b", "m2"))
        },
    }
    network.zero_grad(set_to_none=True)
    losses = _weighted(pretext_terms(network(first, second, "12", noise), batch))
    losses[-1].backward()  # type: ignore[no-untyped-call]
    found = {"small/losses": losses, "small/gradnorm": _gradient_norms(network, golden.shapes["small"])}
    rec, common, unique1, unique2, fused = (
        torch.from_numpy(golden.array(f"loss/{name}", (n, 3, size, size), "f")).to(dtype)
        for name in ("rec", "common", "unique1", "unique2", "fused")
    )
    terms = pretext_terms(Pretext(Shown(common, unique1, unique2, fused.requires_grad_()), rec), batch)
    losses = _weighted(terms)
    return found | {
        "loss/losses": losses,
        "loss/pretrain_total": terms["reconstruction"],
        "loss/grad_fused": torch.autograd.grad(losses[-1], fused)[0],
    }


def _weighted(terms: Mapping[str, Tensor]) -> Tensor:
    """Weighted losses as the vector has them: common, unique1, unique2, reconstruction, fusion, total."""
    weights = DeFusionPPCudWeights().model_dump()
    weighted = {name: weights[name] * term for name, term in terms.items()}
    fusion = weighted["fusion_l1"] + weighted["fusion_dssim"]
    each = [weighted[name] for name in ("common", "unique_a", "unique_b", "reconstruction")]
    return torch.stack([*each, fusion, torch.stack(list(weighted.values())).sum()])


def _pair_losses(golden: Golden, network: DeFusionPP, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """The loss on pairs, and what it compares."""
    network.zero_grad(set_to_none=True)
    terms = torch.stack(list(pair_terms(network, {"infrared": first, "visible": second}).values()))
    terms.sum().backward()  # type: ignore[no-untyped-call]
    added = [name for name in golden.shapes["small_mm"] if not name.startswith("model_encoder")]
    norms = _gradient_norms(network, [*golden.shapes["small"], *added])
    with torch.no_grad():
        predictions = network.predict(first, second)
        return {
            "mm/teacher1": network.teacher_infrared.tokens(normalise(first)),
            "mm/teacher2": network.teacher_visible.tokens(normalise(second)),
            **{
                f"mm/{key}": tokens
                for key, tokens in zip(("pred1", "pred2", "common_12", "common_21"), predictions, strict=True)
            },
            "mm/losses": torch.cat((terms, terms.sum(dim=0, keepdim=True))),
            "mm/gradnorm": norms,
        }


def _gradient_norms(network: DeFusionPP, names: Iterable[str]) -> Tensor:
    """L2 norm of the gradient of each tensor by upstream's name; 0 where there is none."""
    parameters = dict(network.named_parameters())
    gradients = [parameters[ours].grad if (ours := UPSTREAM.translate("", name)) else None for name in names]
    return torch.tensor(
        [0.0 if g is None else torch.linalg.vector_norm(g).item() for g in gradients], dtype=torch.float64
    )
