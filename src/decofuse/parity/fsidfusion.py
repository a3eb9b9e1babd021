"""FSIDFusion's golden vector: its form, and what this project computes for each of its keys."""

from collections.abc import Mapping

import torch
from torch import Tensor

from decofuse.errors import UserError
from decofuse.losses.ssim import SSIMVersion
from decofuse.models.fsidfusion import UPSTREAM, FSIDFusion, fusion_terms, reconstruction_terms
from decofuse.models.registry.fsidfusion import FSIDFusionFusionWeights, FSIDFusionReconstructionWeights
from decofuse.parity.golden import Array, Golden
from decofuse.parity.probes import backward, feature, gradient_norms, loss_values, postprocess, recorded
from decofuse.parity.tolerance import Rule, absolute, of_largest, pixels, relative

INPUTS = frozenset({"vi", "ir"})
RECONSTRUCTION_KEYS = {
    "ssim_visible": "ssim_vi",
    "ssim_infrared": "ssim_ir",
    "mse_visible": "mse_vi",
    "mse_infrared": "mse_ir",
    "gradient_visible": "grad",
}
FUSION_KEYS = {"intensity": "int", "gradient": "grad", "fusion": "fusion", "reconstruction": "rec"}
OLD_AND_NEW_SSIM: Mapping[str, SSIMVersion] = {"": "kornia_0.2", ".new": "kornia_0.5"}


def rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of all keys, the first match counts; they hold for any `golden`.

    The old SSIM form amplifies the rounding of its float32 window in flat areas; hence its wide float64 bounds.
    """
    return (
        Rule("feat.*.cmean", absolute(2e-5), absolute(1e-9)),
        Rule("feat.*.cstd", absolute(2e-5), absolute(1e-9)),
        Rule("feat.*", absolute(2e-4), absolute(1e-9)),
        Rule("fused", absolute(1e-5), absolute(1e-9)),
        Rule("recon.*", absolute(1e-5), absolute(1e-9)),
        Rule("train.*", absolute(1e-5), absolute(1e-9)),
        Rule("post.minmax", absolute(2e-5), absolute(1e-8)),
        Rule("post.u8_*", pixels(0.002), pixels(0.002)),
        Rule("p1.bn.*", absolute(1e-5), absolute(1e-9)),
        Rule("p1.new.gradnorm.*", relative(1e-3), relative(1e-7)),
        Rule("p1.new.gradnorms.*", of_largest(1e-3), of_largest(1e-7)),
        Rule("p2.new.gradnorm.*", relative(5e-3), relative(1e-7)),
        Rule("p2.new.gradnorms.*", of_largest(5e-3), of_largest(1e-7)),
        Rule("p?.new.*", relative(1e-4), relative(1e-9)),
        Rule("p1.gradnorm.*", relative(1e-3), relative(5e-5)),
        Rule("p1.gradnorms.*", of_largest(1e-3), of_largest(5e-5)),
        Rule("p2.gradnorm.*", relative(5e-3), relative(5e-5)),
        Rule("p2.gradnorms.*", of_largest(5e-3), of_largest(5e-5)),
        Rule("p1.ssim_*", relative(2e-5), relative(2e-5)),
        Rule("p?.loss", relative(2e-5), relative(2e-5)),
        Rule("p2.rec", relative(2e-5), relative(2e-5)),
        Rule("p?.*", relative(5e-6), relative(1e-9)),
    )


def probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector that depends on the network, in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of FSIDFusion's form.
    """
    visible, infrared = golden.image("vi", dtype), golden.image("ir", dtype)
    if visible.shape != infrared.shape or len(visible) < 2 or min(visible.shape[-2:]) < 6:
        raise UserError(
            f"{golden.vector}: expected vi and ir of one size, at least 2 images of 6 x 6, found "
            f"{tuple(visible.shape)} and {tuple(infrared.shape)}; get the file again"
        )
    network = build(golden, dtype).eval()
    with torch.no_grad():
        found = _evaluation(network, visible, infrared)
        # The running statistics must be those after the first pass; later passes are free of them.
        found |= _training(network.train(), visible, infrared) | _running_statistics(network, golden)
    batch = {"visible": visible, "infrared": infrared}
    for suffix, ssim in OLD_AND_NEW_SSIM.items():
        terms, weights = reconstruction_terms(network, batch, ssim), FSIDFusionReconstructionWeights()
        found |= loss_values(f"p1{suffix}", backward(network, terms, weights), terms, RECONSTRUCTION_KEYS)
        found |= gradient_norms(f"p1{suffix}", network, golden, UPSTREAM)
        found |= _second_phase(network, batch, golden, suffix, ssim)
    return found


def build(golden: Golden, dtype: torch.dtype) -> FSIDFusion:
    """The network of the manifest's sizes and weights.

    Raises:
        UserError: the manifest is not FSIDFusion's.
    """
    encoder, fusion = (golden.shapes.get(part, {}) for part in ("DIDF_Encoder", "SepcificFuseLayer"))
    try:
        channels = encoder["patch_embed.proj.weight"][0]
        with torch.device("meta"):
            network = FSIDFusion(
                channels=channels,
                heads=encoder["encoder_level1.0.attn.temperature"][0],
                blocks=sum(name.endswith(".attn.temperature") for name in encoder),
                detail_nodes=sum(name.startswith("detailFeature_vis") and name.endswith("v.bias") for name in encoder),
                fusion_nodes=sum(name.endswith(".shffleconv.bias") for name in fusion),
                interaction_heads=encoder["duelFuse.Trans1.attn.scale"][0],
                reduction=channels // encoder["duelFuse.AFF.local_att.0.weight"][0],
            )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{golden.manifest}: expected FSIDFusion's manifest, found another; give fsidfusion.json"
        ) from error
    golden.load(network, UPSTREAM, dtype)
    return network


def _evaluation(network: FSIDFusion, visible: Tensor, infrared: Tensor) -> dict[str, Array]:
    """Features and images in evaluation mode."""
    encoder = network.encoder
    modules = {
        "vi_base": encoder.base_visible,
        "ir_base": encoder.base_infrared,
        "aff_ir": encoder.interaction.infrared_after,
        "aff_vi": encoder.interaction.visible_after,
        "shared": encoder.interaction,
        "vi_specific": encoder.detail_visible,
        "ir_specific": encoder.detail_infrared,
        "fused_specific": network.specific_fusion,
        "dec0": network.decoder.reduce,
    }
    with recorded(modules) as maps:
        fused = network.fuse(visible, infrared)
    found = {key: value for name, values in maps.items() for key, value in feature(name, values).items()}
    found |= {"fused": fused.numpy()} | postprocess(fused)
    for name, image, specific in (("vi", visible, maps["vi_specific"]), ("ir", infrared, maps["ir_specific"])):
        found[f"recon.{name}"] = network.reconstruct(image, maps["shared"], specific).numpy()
    return found


def _training(network: FSIDFusion, visible: Tensor, infrared: Tensor) -> dict[str, Array]:
    """Features and images in training mode, from one pass of the encoder."""
    features = network.encoder(visible, infrared)
    images = {
        "fused": network.join(visible, features),
        "recon.vi": network.reconstruct(visible, features.shared, features.visible),
        "recon.ir": network.reconstruct(infrared, features.shared, features.infrared),
    }
    found = {f"train.{name}": image.numpy() for name, image in images.items()}
    return found | feature("train.shared", features.shared)


def _running_statistics(network: FSIDFusion, golden: Golden) -> dict[str, Array]:
    """Running means and variances of the batch norms, under upstream's names."""
    buffers = dict(network.named_buffers())
    return {
        f"p1.bn.{name}": buffers[str(UPSTREAM.translate(part, name))].clone().numpy()
        for part, tensors in golden.shapes.items()
        for name in tensors
        if name.endswith((".running_mean", ".running_var"))
    }


def _second_phase(
    network: FSIDFusion, batch: Mapping[str, Tensor], golden: Golden, suffix: str, ssim: SSIMVersion
) -> dict[str, Array]:
    """Loss and gradients of the fusion phase, with one form of the SSIM terms."""
    terms, weights = fusion_terms(network, batch, ssim), FSIDFusionFusionWeights().model_dump()
    loss = backward(network, terms, FSIDFusionFusionWeights())
    sums = {
        "fusion": sum(weights[name] * terms[name] for name in ("intensity", "gradient")),
        "reconstruction": sum(weights[name] * terms[name] for name in RECONSTRUCTION_KEYS),
    }
    found = loss_values(f"p2{suffix}", loss, {**terms, **sums}, FUSION_KEYS)
    return found | gradient_norms(f"p2{suffix}", network, golden, UPSTREAM)
