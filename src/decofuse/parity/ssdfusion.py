"""SSDFusion's golden vector: its form, and what this project computes for its keys; the meta phase is apart."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from decofuse.errors import UserError
from decofuse.fusing.postprocess import quantise
from decofuse.losses.correlation import correlation
from decofuse.losses.selection import chosen
from decofuse.models import colour
from decofuse.models.registry.ssdfusion import SSDFusionFusion, SSDFusionReconstruction
from decofuse.models.ssdfusion import (
    TRAINED,
    Output,
    Reconstruction,
    SSDFusion,
    fusion_terms,
    reconstruction_terms,
)
from decofuse.models.ssdfusion_blocks import Parts, full_size
from decofuse.parity.golden import Array, Golden
from decofuse.parity.probes import backward
from decofuse.parity.ssdfusion_meta import META_INPUTS, meta_probe, meta_rules
from decofuse.parity.ssdfusion_metrics import evaluation
from decofuse.parity.ssdfusion_network import build, gradients, norm, norms, parts, stored
from decofuse.parity.tolerance import Rule, absolute, both, either, pixels, relative, relative_l2
from decofuse.settings import CosineSchedule, Section
from decofuse.training.optimiser import PartOptimizer, learning_rate

INPUTS = META_INPUTS | {"in/vi", "in/ir", "in/label"}
SMALLEST = 44  # image side: VIF needs 41 pixels, the network multiples of 4
CHANNEL_STEP, PIXEL_STEPS = 2, (8, 4, 2)  # of stored features, the latter by level
RECONSTRUCTION_KEYS = {
    "ssim_visible": "ssim_vi",
    "ssim_infrared": "ssim_ir",
    "image_visible": "img_vi",
    "image_infrared": "img_ir",
    "decomposition": "loss_decomp",
    "gradient": "grad",
}
FUSION_KEYS = {"intensity": "intensity", "gradient": "gradient", "decomposition": "loss_decomp"}
FEATURES = both(absolute(1e-4), relative_l2(5e-5))


def rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of all keys, the first match counts.

    Arrays were computed by upstream in float32, scalars in float64; hence the wide float64 bounds of arrays.
    """
    return (
        *meta_rules(golden),
        Rule("color/*", absolute(1e-6), absolute(1e-6)),
        Rule("f64/eval/fused", absolute(2e-5), absolute(1e-9)),
        Rule("test/png", pixels(0.005), pixels(0.005)),
        Rule("metrics", *[either(absolute(1e-4), relative(1e-3))] * 2),
        Rule("lr/cosine", relative(1e-9), relative(1e-9)),
        Rule("*/bn/*.num_batches_tracked", absolute(0), absolute(0)),
        Rule("*/bn/*", absolute(1e-5), absolute(1e-5)),
        Rule("*.stat", absolute(1e-5), absolute(1e-9)),
        *(Rule(pattern, FEATURES, FEATURES) for pattern in ("eval/l?/*", "eval/enc_*", "eval/down_*", "s1/eval/l?/*")),
        *(Rule(f"*/{image}", absolute(2e-5), absolute(2e-5)) for image in ("fused", "rgb", "recon_??")),
        Rule("s2/map_ir", pixels(1e-3), pixels(1e-3)),
        Rule("s?/*/cc_*", absolute(2e-6), absolute(1e-9)),
        Rule("s?/train/gradnorm/*", relative(5e-3), relative(1e-7)),
        Rule("s?/train/grad/*", relative_l2(1e-2), relative_l2(1e-2)),
        Rule("s?/train/step/*", relative(1e-3), relative(1e-7)),
        Rule("s?/*", relative(1e-4), relative(1e-7)),
    )


def probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of SSDFusion's form.
    """
    rgb, infrared, label = _inputs(golden, dtype)
    visible, chroma = colour.split(rgb)
    batch = {"visible": visible, "infrared": infrared, "label": label}
    with torch.no_grad():
        found = _evaluation(build(golden, dtype), batch, chroma)
        found["fix_ln/fused"] = build(golden, dtype, norm="layer").features(visible, infrared).fused
    found |= _training("s1", build(golden, dtype), batch, golden) | _training("s2", build(golden, dtype), batch, golden)
    rates = golden.array("lr/cosine", (None,), "f") if "lr/cosine" in golden.arrays else ()
    settings, schedule = SSDFusionReconstruction().optimizer, CosineSchedule()
    found["lr/cosine"] = torch.tensor(
        [learning_rate(settings, schedule, epoch) for epoch in range(len(rates))], dtype=torch.float64
    )
    return {key: value.detach().numpy() for key, value in found.items()} | meta_probe(golden, dtype)


def _inputs(golden: Golden, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """RGB, infrared and label of one size."""
    rgb = torch.from_numpy(golden.array("in/vi", (None, 3, None, None), "f")).to(dtype)
    infrared = golden.image("in/ir", dtype)
    label = torch.from_numpy(golden.array("in/label", (None, 1, None, None), "u"))
    n, _, h, w = rgb.shape
    if not infrared.shape == label.shape == (n, 1, h, w) or min(h, w) < SMALLEST or h % 4 or w % 4:
        raise UserError(
            f"{golden.vector}: expected in/vi, in/ir and in/label of one size, multiples of 4 from {SMALLEST} on, "
            f"found {tuple(rgb.shape)}, {tuple(infrared.shape)} and {tuple(label.shape)}; get the file again"
        )
    return rgb, infrared, label


def _evaluation(network: SSDFusion, batch: Mapping[str, Tensor], chroma: Tensor) -> dict[str, Tensor]:
    """All keys of networks in evaluation mode, but for the corrected norm."""
    visible, infrared = batch["visible"], batch["infrared"]
    output, padded = network.features(visible, infrared), network.fuse(visible, infrared)
    again = network.reconstruct(visible, infrared)
    levels = np.moveaxis(colour.join(padded, chroma).numpy(), 1, -1)
    return {
        "color/y": visible,
        "color/cb": chroma[:, :1],
        "color/cr": chroma[:, 1:],
        "eval/fused": output.fused,
        "eval/rgb": colour.join(output.fused, chroma),
        "f64/eval/fused": output.fused[:1],
        "test/fused": padded,
        "test/png": torch.from_numpy(quantise(levels, "truncate")),
        "metrics": evaluation(*(255 * image for image in (output.fused, infrared, visible))),
        "s2/map_ir": chosen(infrared, visible, batch["label"]).to(torch.uint8),
        **_features(network, visible, infrared, output),
        **_single_features(again),
        **_reconstructed("s1/eval", again),
        **_values("s1/eval", reconstruction_terms(network, batch), SSDFusionReconstruction().weights),
        **_correlations("s2/eval", output),
        **_values("s2/eval", fusion_terms(network, batch), SSDFusionFusion().weights),
    }


def _features(network: SSDFusion, visible: Tensor, infrared: Tensor, output: Output) -> dict[str, Tensor]:
    """What fusing goes through, thinned out; and of some maps mean and deviation."""
    (encoded_visible, encoded_infrared), *refined = network.pyramid(visible, infrared)
    found = {
        "eval/enc_vi": _thinned(encoded_visible, 0),
        "eval/enc_ir": _thinned(encoded_infrared, 0),
        "eval/down_vi": _thinned(network.down_1(encoded_visible), 1),
        "eval/down_ir": _thinned(network.down_1(encoded_infrared), 1),
    }
    for level, of_sources in enumerate(refined, start=1):
        found |= {
            f"eval/l{level}/feat_{key}": _thinned(m, level) for key, m in zip(("vi", "ir"), of_sources, strict=True)
        }
    named = {
        "base_feat": output.base,
        "detail_feat": output.detail,
        "fused_feat": output.merged,
        **{f"{part}_feat_vi": [getattr(parts, part) for parts in output.of_visible] for part in Parts._fields},
        **{f"{part}_feat_ir": [getattr(parts, part) for parts in output.of_infrared] for part in Parts._fields},
    }
    for name, maps in named.items():
        for level, features in enumerate(maps):
            found[f"eval/l{level}/{name}"] = _thinned(features, level)
            found[f"eval/l{level}/{name}.stat"] = torch.stack((features.mean(), features.std()))
    return found


def _single_features(again: Reconstruction) -> dict[str, Tensor]:
    return {
        f"s1/eval/l{level}/fused_feat_{source}": _thinned(features, level)
        for source, maps in (("vi", again.merged_visible), ("ir", again.merged_infrared))
        for level, features in enumerate(maps)
    }


def _training(stage: str, network: SSDFusion, batch: Mapping[str, Tensor], golden: Golden) -> dict[str, Tensor]:
    """A first step of a phase: outputs, statistics and terms, gradients, and how far the optimiser goes."""
    prefix, visible, infrared = f"{stage}/train", batch["visible"], batch["infrared"]
    network.train()
    with torch.no_grad():  # the second pass below gives the same values: running statistics do not enter
        if stage == "s1":
            found = _reconstructed(prefix, network.reconstruct(visible, infrared))
        else:
            output = network.features(visible, infrared)
            found = {f"{prefix}/fused": output.fused, **_correlations(prefix, output)}
    found |= stored(f"{prefix}/bn/", network.state_dict(), golden)
    settings = SSDFusionReconstruction() if stage == "s1" else SSDFusionFusion()
    terms = (reconstruction_terms if stage == "s1" else fusion_terms)(network, batch)
    backward(network, terms, settings.weights)
    found |= _values(prefix, terms, settings.weights)
    found |= _norms(f"{prefix}/gradnorm", gradients(network), golden)
    found |= stored(f"{prefix}/grad/", gradients(network), golden)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = PartOptimizer(network, TRAINED, settings.optimizer, joint=True)
    optimizer.clip()
    optimizer.instance.step()
    moved = {name: p.detach() - before[name] for name, p in network.named_parameters()}
    return found | _norms(f"{prefix}/step", moved, golden)


def _norms(prefix: str, tensors: Mapping[str, Tensor], golden: Golden) -> dict[str, Tensor]:
    """L2 norms of the tensors of each part under upstream's names, of all, and of what is optimised."""
    optimised = [tensor for name, tensor in tensors.items() if name.partition(".")[0] in TRAINED]
    totals = {f"{prefix}/all": norm(tensors.values()), f"{prefix}/optimised": norm(optimised)}
    return norms(prefix, tensors, parts(golden)) | totals


def _values(prefix: str, terms: Mapping[str, Tensor], weights: Section) -> dict[str, Tensor]:
    """The terms under the vector's names, their weighted sum, and the sum without decomposition as `fusion`."""
    keys = RECONSTRUCTION_KEYS if "ssim_visible" in terms else FUSION_KEYS
    weighted = {name: weight * terms[name] for name, weight in weights.model_dump().items()}
    total = torch.stack([*weighted.values()]).sum()
    return {
        **{f"{prefix}/{key}": terms[name] for name, key in keys.items()},
        f"{prefix}/total": total,
        f"{prefix}/fusion": total - weighted["decomposition"],
    }


def _reconstructed(prefix: str, again: Reconstruction) -> dict[str, Tensor]:
    images = {f"{prefix}/recon_vi": again.visible, f"{prefix}/recon_ir": again.infrared}
    return images | _correlations(prefix, again)


def _correlations(prefix: str, result: Output | Reconstruction) -> dict[str, Tensor]:
    """Correlation of the sources' parts at full size, a value a level."""
    found = {}
    for part in Parts._fields:
        sources = [[getattr(parts, part) for parts in of] for of in (result.of_visible, result.of_infrared)]
        found[f"{prefix}/cc_{part}"] = torch.stack([*map(correlation, *map(full_size, sources))])
    return found


def _thinned(maps: Tensor, level: int) -> Tensor:
    step = PIXEL_STEPS[level]
    return maps[:, ::CHANNEL_STEP, ::step, ::step]
