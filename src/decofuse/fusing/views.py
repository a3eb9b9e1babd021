"""What a network is given of an image."""

import numpy as np

from decofuse.data.images import Float32, UInt8, grey_levels, luma
from decofuse.settings import Colour


def view(image: UInt8, colour: Colour) -> Float32:
    """An H×W (grey) or H×W×3 (RGB) uint8 image as `decofuse.settings.Views` says: float32, H×W, or H×W×3 for `rgb`."""
    if colour == "luma":
        return luma(image)
    levels = grey_levels(image) if colour == "grey" else image
    scaled: Float32 = levels.astype(np.float32) / np.float32(255)
    return np.stack([scaled] * 3, axis=-1) if colour == "rgb" and image.ndim == 2 else scaled
