"""A segmentation network with what it must know of its training data: classes, normalisation, weights of classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.data.dataset import IGNORED_LABEL
from decofuse.data.images import UInt8
from decofuse.errors import UserError
from decofuse.losses.segmentation import hard_pixel_loss, lovasz_softmax_loss, pixel_losses
from decofuse.models.method import Custom, Phase
from decofuse.seeding import seed_for
from decofuse.segmentation.crops import fitted
from decofuse.segmentation.network import SegmentationNetwork
from decofuse.segmentation.registry import SEGMENTERS, build, network_class
from decofuse.training.checkpoint import fill_network, load_weights

PHASE = "segmentation"
MULTIPLE = 32  # that sides are padded to [pixels]


class Segmenter(nn.Module):
    """Normalisation and network.

    Attributes:
        network: takes normalised images.
        mean: of the training images in R, G and B, [0, 255].
        std: of the training images, the same.
        class_weights: of the loss, one a class.

    Args:
        classes: number of classes.
        network: the section of params.yaml, `model` and its size.
    """

    mean: Tensor
    std: Tensor
    class_weights: Tensor

    def __init__(self, classes: int, network: Mapping[str, Any]) -> None:
        super().__init__()
        self.classes = classes
        self.network: SegmentationNetwork = build(classes, network)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))
        self.register_buffer("class_weights", torch.ones(classes))

    def normalised(self, rgb: Tensor) -> Tensor:
        """(255 x - mean) / std of N×3×H×W in [0, 1]."""
        mean, std = (values.view(3, 1, 1) for values in (self.mean, self.std))
        return (255 * rgb - mean) / std

    def forward(self, rgb: Tensor) -> Tensor:
        """N×3×H×W RGB in [0, 1], H and W multiples of 32, → logits N×classes×H×W."""
        logits: Tensor = self.network(self.normalised(rgb))
        return logits

    def features(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps of N×3×H×W RGB in [0, 1], normalised first; see `SegmentationNetwork.features`."""
        return self.network.features(self.normalised(rgb))

    def set_statistics(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """Normalise by these from now on, 3 each; a colour that never varies is only centred."""
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(np.where(std > 0, std, 1.0)))

    @torch.no_grad()
    def predict(self, image: UInt8, fit: tuple[int, int] | None, *place: int | str) -> UInt8:
        """The class of each pixel, H×W, of an H×W×3 RGB image of any size, in evaluation mode.

        Args:
            image: after scaling it is padded at the right and below by the mean colour, to multiples of 32.
            fit: longer and shorter side that the image is scaled to fit into; None leaves its size.
            place: what random bases of the head depend on, such as the image's name.
        """
        self.eval()
        torch.manual_seed(seed_for("segmentation", *place))
        resized = fitted(image, fit, 1.0) if fit else image
        rgb = (
            torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1))).to(self.mean.device)[None].float() / 255
        )
        height, width = resized.shape[:2]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        logits = self.network(F.pad(self.normalised(rgb), padding))[..., :height, :width]
        if resized.shape != image.shape:
            logits = F.interpolate(logits, image.shape[:2], mode="bilinear")
        classes: UInt8 = logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
        return classes


def phase_of(model: str) -> Phase:
    """The training of a segmentation network as the training stage knows it."""
    kind = network_class(model)
    return Phase(
        trains=("network",),
        terms=segmentation_terms,
        carries=False,
        joint=True,
        smallest_batch=2,  # batch norm of a single crop's deepest map would have no spread
        custom=Custom(head=kind.head_names, undecayed=kind.undecayed),
    )


def segmentation_terms(
    network: Segmenter,
    batch: Mapping[str, Tensor],
    loss: str = "cross_entropy",
    hard_threshold: float = 0.7,
    hard_share: float = 0.25,
) -> dict[str, Tensor]:
    """The one term of the loss.

    Args:
        network: the network.
        batch: `image` N×3×H×W RGB in [0, 1], `label` N×H×W int64, 255 where ignored.
        loss: cross_entropy (mean over all pixels), ohem or lovasz.
        hard_threshold: of ohem, see `hard_pixel_loss`.
        hard_share: of ohem, share of the labelled pixels that count at least.
    """
    logits, label = network(batch["image"]), batch["label"]
    if loss == "lovasz":
        return {"segmentation": lovasz_softmax_loss(logits, label)}
    losses = pixel_losses(logits, label, network.class_weights)
    if loss == "ohem":
        counted = losses[label != IGNORED_LABEL]
        return {"segmentation": hard_pixel_loss(counted, hard_threshold, int(hard_share * len(counted)))}
    return {"segmentation": losses.mean()}


def load_segmenter(path: Path, classes: int) -> Segmenter:
    """The network of a weights file of the segmentation stage.

    Args:
        path: weights.safetensors or best.safetensors.
        classes: number of classes that it must have.

    Raises:
        UserError: the file is missing, damaged or foreign, or of another number of classes.
    """
    tensors, provenance = load_weights(path, tuple(SEGMENTERS), PHASE)
    found = provenance.network.get("classes")
    if found != classes:
        raise UserError(
            f"{path}: expected a segmentation network for {classes} classes, found one for {found}; train it on labels "
            "of the same classes"
        )
    try:
        network = Segmenter(**provenance.network)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: expected the size of a segmentation network, found another: {error}") from error
    fill_network(network, tensors, path)
    return network
