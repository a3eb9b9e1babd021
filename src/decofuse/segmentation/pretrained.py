"""Pretrained backbones of segmentation networks, as the libraries that the networks come from name their tensors."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from decofuse.errors import UserError
from decofuse.segmentation.network import SegmentationNetwork
from decofuse.training.checkpoint import fill_network

COUNTER = "num_batches_tracked"  # of a batch norm, which does not use it; some files leave it out


def load_backbone(network: SegmentationNetwork, path: Path) -> None:
    """Copy the backbone's tensors of a file into `network`, all of them or none; the head keeps its own.

    Args:
        network: on any device.
        path: a safetensors file in the library's names, see `SegmentationNetwork.given_name`. Numbers of any precision
            become those of the network.

    Raises:
        UserError: the file is missing, damaged or no safetensors file, or a tensor of the backbone is missing, extra,
            of another shape or kind, or not finite.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: expected pretrained weights, found no such file; change `segmentation.network.weights`, or leave "
            "it empty"
        ) from error
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: expected a safetensors file, found a damaged or foreign one; fetch it again, or convert it with "
            "safetensors.torch.save_file"
        ) from error
    filled = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if any(part in name for part in network.head_names) or name.endswith(COUNTER)
    }
    labels: dict[str, str] = {}
    for given, tensor in tensors.items():
        name = network.given_name(given)
        if name is None:
            continue
        if name in labels:
            raise UserError(
                f"{path}: expected each tensor of the backbone once, found {labels[name]} and {given}; keep one of them"
            )
        filled[name], labels[name] = tensor, given
    fill_network(network, filled, path, labels)
