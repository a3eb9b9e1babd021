"""CDDFuse's golden vector: its form, and what this project computes for each of its keys."""

from collections.abc import Mapping

import torch
from torch import Tensor

from decofuse.errors import UserError
from decofuse.losses.correlation import correlation
from decofuse.losses.ssim import SSIMVersion, ssim_map
from decofuse.models.cddfuse import UPSTREAM, CDDFuse, Features, Skip, fusion_terms, reconstruction_terms
from decofuse.models.registry.cddfuse import CDDFuseFusionWeights, CDDFuseReconstructionWeights
from decofuse.parity.golden import Array, Golden
from decofuse.parity.probes import backward, feature, gradient_norms, loss_values, postprocess
from decofuse.parity.tolerance import Rule, absolute, of_largest, pixels, relative

INPUTS = frozenset({"vi", "ir"})
RECONSTRUCTION_KEYS = {
    "ssim_visible": "ssim_vi",
    "ssim_infrared": "ssim_ir",
    "mse_visible": "mse_vi",
    "mse_infrared": "mse_ir",
    "decomposition": "decomp",
    "gradient": "grad",
}
OLD_AND_NEW_SSIM: Mapping[str, SSIMVersion] = {"p1": "kornia_0.2", "p1.new": "kornia_0.5"}
SKIPS: Mapping[str, Skip] = {"fused.mif_none": "none", "fused.mif_sum": "sum", "fused": "visible"}
FUSION_KEYS = {"intensity": "int", "gradient": "grad", "decomposition": "decomp"}


def rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of all keys, the first match counts.

    The old SSIM form amplifies the rounding of its float32 window in flat areas; hence its wide float64 bounds.
    """
    pixel = 1 / golden.image("vi", torch.float32).numel()
    return (
        Rule("feat.*.cmean", absolute(2e-5), absolute(1e-9)),
        Rule("feat.*.cstd", absolute(2e-5), absolute(1e-9)),
        Rule("feat.*", absolute(1e-4), absolute(1e-9)),
        Rule("fused*", absolute(1e-5), absolute(1e-9)),
        Rule("recon.*", absolute(1e-5), absolute(1e-9)),
        Rule("post.minmax", absolute(2e-5), absolute(1e-8)),
        Rule("post.u8_*", pixels(0.002), pixels(0.002)),
        Rule("p1.ssim_vi.capped", absolute(3.5 * pixel), absolute(1.5 * pixel)),
        Rule("p1.new.gradnorm.*", relative(1e-3), relative(1e-7)),
        Rule("p1.new.gradnorms.*", of_largest(1e-3), of_largest(1e-7)),
        Rule("p1.new.*", relative(1e-4), relative(1e-9)),
        Rule("p1.gradnorm.*", relative(1e-3), relative(5e-5)),
        Rule("p1.gradnorms.*", of_largest(1e-3), of_largest(5e-5)),
        Rule("p1.ssim_*", relative(2e-5), relative(2e-5)),
        Rule("p1.loss", relative(2e-5), relative(2e-5)),
        Rule("p1.*", relative(2e-5), relative(1e-9)),
        Rule("p2.gradnorm.*", relative(1e-3), relative(1e-7)),
        Rule("p2.gradnorms.*", of_largest(1e-3), of_largest(1e-7)),
        Rule("p2.*", relative(1e-5), relative(1e-9)),
    )


def probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector that depends on the network, in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of CDDFuse's form.
    """
    visible, infrared = golden.image("vi", dtype), golden.image("ir", dtype)
    if visible.shape != infrared.shape or min(visible.shape[-2:]) < 6:
        raise UserError(
            f"{golden.vector}: expected vi and ir of one size, at least 6 x 6, found {tuple(visible.shape)} and "
            f"{tuple(infrared.shape)}; get the file again"
        )
    network = build(golden, dtype)
    with torch.no_grad():
        found = _outputs(network, visible, infrared)
    batch = {"visible": visible, "infrared": infrared}
    for prefix, ssim in OLD_AND_NEW_SSIM.items():
        terms = reconstruction_terms(network, batch, ssim)
        loss = backward(network, terms, CDDFuseReconstructionWeights())
        found |= loss_values(prefix, loss, terms, RECONSTRUCTION_KEYS)
        found |= gradient_norms(prefix, network, golden, UPSTREAM)
    terms, weights = fusion_terms(network, batch), CDDFuseFusionWeights()
    loss = backward(network, terms, weights)
    found |= loss_values("p2", loss, terms, FUSION_KEYS)
    found |= gradient_norms("p2", network, golden, UPSTREAM)
    found["p2.fusion"] = weights.intensity * found["p2.int"] + weights.gradient * found["p2.grad"]
    return found


def build(golden: Golden, dtype: torch.dtype) -> CDDFuse:
    """The network of the manifest's sizes and weights.

    Raises:
        UserError: the manifest is not CDDFuse's.
    """
    encoder = golden.shapes.get("DIDF_Encoder", {})
    try:
        with torch.device("meta"):
            network = CDDFuse(
                channels=encoder["patch_embed.proj.weight"][0],
                heads=encoder["encoder_level1.0.attn.temperature"][0],
                blocks=sum(name.endswith(".attn.temperature") for name in encoder),
                detail_nodes=sum(name.endswith(".shffleconv.bias") for name in encoder),
            )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{golden.manifest}: expected CDDFuse's manifest, found another; give cddfuse.json") from error
    golden.load(network, UPSTREAM, dtype)
    return network


def _outputs(network: CDDFuse, visible: Tensor, infrared: Tensor) -> dict[str, Array]:
    """Features and images."""
    of_visible, of_infrared = network.encoder(visible), network.encoder(infrared)
    base = network.base_fusion(of_visible.base + of_infrared.base)
    detail = network.detail_fusion(of_visible.detail + of_infrared.detail)
    maps = {
        **{f"vi_{name}": value for name, value in of_visible._asdict().items()},
        **{f"ir_{name}": value for name, value in of_infrared._asdict().items()},
        "fused_base": base,
        "fused_detail": detail,
        "dec0": network.decoder.reduced(base, detail),
    }
    found = {key: value for name, values in maps.items() for key, value in feature(name, values).items()}
    images = {}
    for key, skip in SKIPS.items():
        network.skip = skip
        images[key] = network.join(visible, infrared, of_visible, of_infrared)
    images["recon.vi"] = network.reconstruct(visible, of_visible)
    images["recon.ir"] = network.reconstruct(infrared, of_infrared)
    found |= {name: image.numpy() for name, image in images.items()} | postprocess(images["fused"])
    return found | _statistics(visible, images["recon.vi"], of_visible, of_infrared)


def _statistics(visible: Tensor, again: Tensor, of_visible: Features, of_infrared: Features) -> dict[str, Array]:
    """What the vector holds of the inside of the losses."""
    base = correlation(of_visible.base, of_infrared.base).numpy()
    detail = correlation(of_visible.detail, of_infrared.detail).numpy()
    capped = ssim_map(visible, again, "kornia_0.2") <= 0
    return {
        **{f"{phase}.cc_base": base for phase in ("p1", "p2")},
        **{f"{phase}.cc_detail": detail for phase in ("p1", "p2")},
        "p1.ssim_vi.capped": capped.double().mean().numpy(),
    }
