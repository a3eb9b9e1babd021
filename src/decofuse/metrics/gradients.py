"""Metrics of the fused image's differences between neighbours: SF, AG, EI."""

from typing import Literal

from torch import Tensor

from decofuse.metrics._images import Images, dot
from decofuse.metrics._names import check_known
from decofuse.metrics._windows import sobel

Count = Literal["cddfuse", "vifb"]
COUNTS: tuple[Count, ...] = ("cddfuse", "vifb")


def spatial_frequency(fused: Tensor, convention: Count = "cddfuse") -> Tensor:
    """SF = sqrt(Σ (F[y,x+1] - F[y,x])² / n_x + Σ (F[y+1,x] - F[y,x])² / n_y).

    Range [0, 360.6] grey levels, higher is better (noise is rewarded). Eskicioglu and Fisher 1995.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 2×2 pixels.
        convention: "cddfuse": each sum is divided by its own number of differences, as CDDFuse's evaluator; "vifb":
            both by the number of pixels, as VIFB and MEFB.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; too small, or an unknown convention.
    """
    return of_spatial_frequency(Images(fused), convention)


def of_spatial_frequency(images: Images, convention: Count = "cddfuse") -> Tensor:
    """`spatial_frequency` of images that are checked."""
    check_known("convention", convention, COUNTS)
    images.require(2)
    differences = images.fused.diff(dim=-1), images.fused.diff(dim=-2)
    counts = [images.pixels if convention == "vifb" else its[0].numel() for its in differences]
    horizontal, vertical = (dot(its, its) / count for its, count in zip(differences, counts, strict=True))
    return images.result((horizontal + vertical).sqrt())


def average_gradient(fused: Tensor, convention: Count = "cddfuse") -> Tensor:
    """AG = Σ sqrt((G_x² + G_y²) / 2) / n, central differences, one-sided on the border.

    Range [0, 255] grey levels, higher is better (noise is rewarded). Cui et al. 2015.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 2×2 pixels.
        convention: "cddfuse": n = H·W, as CDDFuse's evaluator; "vifb": n = (H - 1)(W - 1), as VIFB.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; too small, or an unknown convention.
    """
    return of_average_gradient(Images(fused), convention)


def of_average_gradient(images: Images, convention: Count = "cddfuse") -> Tensor:
    """`average_gradient` of images that are checked."""
    check_known("convention", convention, COUNTS)
    images.require(2)
    x, y = horizontal_gradient(images.fused), horizontal_gradient(images.fused.mT).mT
    height, width = images.fused.shape[-2:]
    count = (height - 1) * (width - 1) if convention == "vifb" else images.pixels
    return images.result((x.square().add_(y.square()) / 2).sqrt_().sum(dim=(-2, -1)) / count)


def edge_intensity(fused: Tensor) -> Tensor:
    """EI = mean sqrt(S_x² + S_y²), 3×3 Sobel without a factor, border repeated.

    Range [0, 1140.4] grey levels, higher is better (noise is rewarded). Definition as VIFB.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_edge_intensity(Images(fused))


def of_edge_intensity(images: Images) -> Tensor:
    """`edge_intensity` of images that are checked."""
    x, y = sobel(images.fused, "replicate")
    return images.result(x.square_().add_(y.square_()).sqrt_().mean(dim=(-2, -1)))


def horizontal_gradient(images: Tensor) -> Tensor:
    """Central differences / 2 along the last axis, one-sided on the border; the shape stays."""
    gradient = images.new_empty(images.shape)
    gradient[..., 1:-1] = (images[..., 2:] - images[..., :-2]) / 2
    gradient[..., 0] = images[..., 1] - images[..., 0]
    gradient[..., -1] = images[..., -1] - images[..., -2]
    return gradient
