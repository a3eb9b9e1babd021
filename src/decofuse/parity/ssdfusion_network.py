"""SSDFusion's network of a golden vector, and probes of it that all its phases share."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from decofuse.errors import UserError
from decofuse.models.ssdfusion import UPSTREAM, NormKind, SSDFusion, upstream
from decofuse.parity.golden import Golden


def build(golden: Golden, dtype: torch.dtype, norm: NormKind = "identity") -> SSDFusion:
    """The network of the manifest's sizes and weights, without drop path, in evaluation mode.

    Raises:
        UserError: the manifest is not SSDFusion's.
    """
    shapes = golden.shapes.get("", {})
    try:
        with torch.device("meta"):
            network = SSDFusion(
                channels=shapes["shared_encoder.patch_embed.proj.weight"][0],
                heads=shapes["shared_encoder.encoder_level1.0.attn.temperature"][0],
                blocks=sum(name.startswith("shared_encoder") and "temperature" in name for name in shapes),
                detail_nodes=sum("fusion_0.extractor_ir" in name and "shffleconv.bias" in name for name in shapes),
                drop_path=(0.0, 0.0),
                norm=norm,
            )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{golden.manifest}: expected SSDFusion's manifest, found another; give ssdfusion.json"
        ) from error
    golden.load(network, upstream(norm), dtype, {"": shapes})
    return network.eval()


def parts(golden: Golden) -> dict[str, str]:
    """Upstream's name of each child of the network, in the manifest, and ours."""
    theirs = dict.fromkeys(name.partition(".")[0] for name in golden.shapes[""])
    return {name: str(UPSTREAM.translate("", name)) for name in theirs}


def stored(prefix: str, tensors: Mapping[str, Tensor], golden: Golden) -> dict[str, Tensor]:
    """Copies of those of `tensors`, by our names, that the vector holds as `<prefix><upstream's name>`."""
    keys = [key for key in golden.arrays if key.startswith(prefix)]
    ours = {key: str(UPSTREAM.translate("", key.removeprefix(prefix))) for key in keys}
    return {key: tensors[name].clone() for key, name in ours.items() if name in tensors}


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """The gradients that there are, by parameter."""
    return {name: each.grad for name, each in network.named_parameters() if each.grad is not None}


def norms(prefix: str, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """L2 norm of all tensors of each module; 0 for none.

    Args:
        prefix: of the keys.
        tensors: by our names.
        names: upstream's name of each module -> ours.
    """
    return {
        f"{prefix}/{theirs}": norm(tensor for name, tensor in tensors.items() if name.startswith(f"{ours}."))
        for theirs, ours in names.items()
    }


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """L2 norm of tensors together; 0 for none."""
    return nn.utils.get_total_norm(list(tensors))
