"""Splitting RGB tensors into luma and chroma and back, as PSFusion and SSDFusion do (BT.601, full range).

All values are in [0, 1]; chroma is centred on ½. Going there and back is not exact: the published factors are rounded.
"""

import torch
from torch import Tensor


def split(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Y = 0.299 R + 0.587 G + 0.114 B; Cb = 0.564 (B − Y) + ½ and Cr = 0.713 (R − Y) + ½; each clamped to [0, 1].

    Args:
        rgb: N×3×H×W in [0, 1].

    Returns:
        Y, N×1×H×W; Cb and Cr, N×2×H×W, without gradient.
    """
    red, green, blue = rgb.chunk(3, dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    with torch.no_grad():
        chroma = torch.cat((0.564 * (blue - luma), 0.713 * (red - luma)), dim=1) + 0.5
    return luma.clamp(0, 1), chroma.clamp(0, 1)


def join(luma: Tensor, chroma: Tensor) -> Tensor:
    """R = Y + 1.403 (Cr − ½); G = Y − 0.714 (Cr − ½) − 0.344 (Cb − ½); B = Y + 1.773 (Cb − ½); clamped to [0, 1].

    Args:
        luma: N×1×H×W in [0, 1].
        chroma: Cb and Cr, N×2×H×W in [0, 1].

    Returns:
        RGB, N×3×H×W.
    """
    blueness, redness = (chroma - 0.5).chunk(2, dim=1)
    red = luma + 1.403 * redness
    green = luma - 0.714 * redness - 0.344 * blueness
    blue = luma + 1.773 * blueness
    return torch.cat((red, green, blue), dim=1).clamp(0, 1)
