"""What a network is given of an image."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from decofuse.data.images import Float32, Pixels, full_scale, grey_levels, luma
from decofuse.settings import Colour


def view(image: Pixels, colour: Colour) -> Float32:
    """An image as `decofuse.settings.Views` says.

    Args:
        image: H×W (grey) or H×W×3 (RGB), uint8 or uint16.
        colour: what the network is to see.

    Returns:
        float32 in [0, 1], H×W, or H×W×3 for `rgb`.
    """
    if colour == "luma":
        return luma(image)
    levels = grey_levels(image) if colour == "grey" else image
    scaled: Float32 = levels.astype(np.float32) / np.float32(full_scale(image))
    return np.stack([scaled] * 3, axis=-1) if colour == "rgb" and image.ndim == 2 else scaled


def as_batch(images: Sequence[Pixels], colour: Colour, device: torch.device) -> Tensor:
    """Images of one size, each as `view` gives it, N×C×H×W."""
    seen = [view(image, colour) for image in images]
    channels = [image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0) for image in seen]
    return torch.from_numpy(np.stack(channels)).to(device)
