"""SFDFuse's golden vector: its form, and what this project computes for each of its keys."""

from collections.abc import Mapping

import torch
from torch import Tensor

from decofuse.errors import UserError
from decofuse.losses.correlation import correlation
from decofuse.models.registry.sfdfuse import SFDFuseFusionWeights, SFDFuseReconstructionWeights
from decofuse.models.sfdfuse import (
    UPSTREAM,
    Features,
    InfraredDetail,
    SFDFuse,
    even,
    fusion_terms,
    reconstruction_terms,
)
from decofuse.models.sfdfuse_interaction import haar_filters
from decofuse.parity.golden import Array, Golden
from decofuse.parity.probes import CHANNEL_STEP, backward, feature, gradient_norms, loss_values, postprocess
from decofuse.parity.tolerance import Rule, absolute, of_largest, pixels, relative

INPUTS = frozenset({"vi", "ir", "odd.vi", "odd.ir"})
BAND_STEP = 2  # of stored sub-bands [pixels]
RECONSTRUCTION_KEYS = {
    "ssim_visible": "ssim_vi",
    "ssim_infrared": "ssim_ir",
    "mse_visible": "mse_vi",
    "mse_infrared": "mse_ir",
    "decomposition": "decomp",
    "gradient": "grad",
}
DETAILS: Mapping[str, InfraredDetail] = {"p1": "visible", "p1.own": "infrared"}
FUSION_KEYS = {"intensity": "int", "gradient": "grad", "ssim": "ssim", "decomposition": "decomp"}
FUSIONS = {"p2": SFDFuseFusionWeights(), "p2.nossim": SFDFuseFusionWeights(ssim=0.0)}


def rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of all keys, the first match counts."""
    return (
        Rule("wavelet.*", absolute(1e-7), absolute(1e-7)),
        Rule("feat.*.cmean", absolute(2e-5), absolute(1e-9)),
        Rule("feat.*.cstd", absolute(2e-5), absolute(1e-9)),
        *(Rule(f"feat.vi_{band}", absolute(5e-6), absolute(1e-10)) for band in ("ll", "lh", "hl", "hh")),
        Rule("feat.vi_detail_raw", absolute(1e-3), absolute(1e-9)),
        Rule("feat.*", absolute(2e-4), absolute(1e-9)),
        Rule("fused", absolute(2e-5), absolute(1e-9)),
        Rule("recon.*", absolute(2e-5), absolute(1e-9)),
        Rule("odd.*", absolute(2e-5), absolute(1e-9)),
        Rule("post.minmax", absolute(3e-5), absolute(1e-8)),
        Rule("post.u8_*", pixels(0.005), pixels(0.005)),
        Rule("p[12]*.gradnorm.*", relative(2e-3), relative(1e-7)),
        Rule("p[12]*.gradnorms.*", of_largest(5e-3), of_largest(1e-7)),
        Rule("p[12].*", relative(1e-5), relative(1e-9)),
    )


def probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector that depends on the network, in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of SFDFuse's form.
    """
    visible, infrared = _pair(golden, "vi", "ir", dtype)
    odd = _pair(golden, "odd.vi", "odd.ir", dtype)
    network = build(golden, dtype)
    with torch.no_grad():
        found = _inside(network, visible) | _outputs(network, visible, infrared) | _odd(network, *odd)
    batch = {"visible": even(visible), "infrared": even(infrared)}
    for prefix, detail in DETAILS.items():
        terms = reconstruction_terms(network, batch, infrared_detail=detail)
        loss = backward(network, terms, SFDFuseReconstructionWeights())
        found |= loss_values(prefix, loss, terms, RECONSTRUCTION_KEYS)
        found |= gradient_norms(prefix, network, golden, UPSTREAM)
    for prefix, weights in FUSIONS.items():
        terms = fusion_terms(network, batch)
        loss = backward(network, terms, weights)
        found |= loss_values(prefix, loss, terms, FUSION_KEYS)
        found |= gradient_norms(prefix, network, golden, UPSTREAM)
        parts = [weight * terms[name] for name, weight in weights.model_dump().items() if name != "decomposition"]
        found[f"{prefix}.fusion"] = torch.stack(parts).sum().detach().numpy()
    return found


def build(golden: Golden, dtype: torch.dtype) -> SFDFuse:
    """The network of the manifest's sizes and weights, without drop path.

    Raises:
        UserError: the manifest is not SFDFuse's.
    """
    encoder = golden.shapes.get("DIDF_Encoder", {})
    try:
        with torch.device("meta"):
            network = SFDFuse(
                channels=encoder["patch_embed.proj.weight"][0],
                heads=encoder["encoder_level1.0.attn.temperature"][0],
                blocks=sum(name.endswith(".attn.temperature") for name in encoder),
                detail_nodes=sum(name.endswith(".shffleconv.bias") for name in encoder),
                drop_path=0.0,
            )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{golden.manifest}: expected SFDFuse's manifest, found another; give sfdfuse.json") from error
    golden.load(network, UPSTREAM, dtype)
    return network


def _pair(golden: Golden, visible: str, infrared: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    pair = golden.image(visible, dtype), golden.image(infrared, dtype)
    if pair[0].shape != pair[1].shape or min(pair[0].shape[-2:]) < 6:
        raise UserError(
            f"{golden.vector}: expected {visible} and {infrared} of one size, at least 6 x 6, found "
            f"{tuple(pair[0].shape)} and {tuple(pair[1].shape)}; get the file again"
        )
    return pair


def _inside(network: SFDFuse, visible: Tensor) -> dict[str, Array]:
    """What the encoder computes on its way, and the filters that a new network starts with."""
    encoder = network.encoder
    embedded = encoder.embed(even(visible))
    shallow = encoder.blocks(embedded)
    low, high = encoder.frequency(embedded)
    maps = {"shallow": shallow, "base_raw": encoder.base(shallow), "detail_raw": encoder.detail(shallow)}
    maps |= {"fre_lo": low, "fre_hi": high}
    found = {key: value for name, values in maps.items() for key, value in feature(f"vi_{name}", values).items()}
    for name, band in zip(("ll", "lh", "hl", "hh"), encoder.frequency.bands(embedded), strict=True):
        found[f"feat.vi_{name}"] = band[:, ::CHANNEL_STEP, ::BAND_STEP, ::BAND_STEP].numpy()
    filters = haar_filters().numpy()
    return found | {"wavelet.dec": filters, "wavelet.rec": filters}


def _outputs(network: SFDFuse, visible: Tensor, infrared: Tensor) -> dict[str, Array]:
    """Features and images."""
    of_visible, of_infrared = network.encoder(visible), network.encoder(infrared)
    base = network.base_fusion(of_visible.base, of_infrared.base)
    detail = network.detail_fusion(of_visible.detail, of_infrared.detail)
    maps = {
        **{f"vi_{name}": value for name, value in of_visible._asdict().items()},
        **{f"ir_{name}": value for name, value in of_infrared._asdict().items()},
        "fused_base": base,
        "fused_detail": detail,
        "dec0": network.decoder.join(base, detail),
    }
    images = {
        "fused": network.join(visible, of_visible, of_infrared),
        "recon.vi": network.decoder(of_visible.base, of_visible.detail, visible),
        "recon.ir": network.decoder(of_infrared.base, of_visible.detail, infrared),
        "recon.ir_own": network.decoder(of_infrared.base, of_infrared.detail, infrared),
    }
    found = {key: value for name, values in maps.items() for key, value in feature(name, values).items()}
    found |= {name: image.numpy() for name, image in images.items()} | postprocess(images["fused"])
    return found | _correlations(of_visible, of_infrared)


def _odd(network: SFDFuse, visible: Tensor, infrared: Tensor) -> dict[str, Array]:
    """Images of an odd-sized pair, one pixel smaller as upstream has them."""
    of_visible, of_infrared = network.encoder(visible), network.encoder(infrared)
    return {
        "odd.fused": network.join(visible, of_visible, of_infrared).numpy(),
        "odd.recon.vi": network.decoder(of_visible.base, of_visible.detail, visible).numpy(),
    }


def _correlations(of_visible: Features, of_infrared: Features) -> dict[str, Array]:
    """What the vector holds of the inside of the decomposition loss, the same in both phases."""
    base = correlation(of_visible.base, of_infrared.base).numpy()
    detail = correlation(of_visible.detail, of_infrared.detail).numpy()
    return {
        **{f"{phase}.cc_base": base for phase in ("p1", "p2")},
        **{f"{phase}.cc_detail": detail for phase in ("p1", "p2")},
    }
