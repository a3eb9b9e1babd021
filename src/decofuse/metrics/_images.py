"""The images that a metric compares: checked once, and what several metrics need of them, each computed once."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

LEVELS = 256

T = TypeVar("T")


class Images:
    """N fused images, and their sources where a metric compares with them.

    Everything is kept in float64, whatever the images came in: grey levels stay exact, and no metric has to fear
    cancellation. VIF, VIFF and Qabf, which bear it, are computed in the precision of the images. `result` gives values
    in that precision.

    Attributes:
        precision: float64, or float32 for images of that or of half precision.
        stack: K×N×H×W float64 grey levels; K = 1 (fused) or 3 (fused, source A, source B).
    """

    def __init__(self, fused: Tensor, *sources: Tensor) -> None:
        """Check the images.

        Args:
            fused: N×H×W or N×1×H×W floating tensor of grey levels [0, 255].
            sources: same shape, each.

        Raises:
            ValueError: no floating tensors, not grey batches, sizes differ, or not grey levels (NaN included).
        """
        batches = [_grey_batch(image) for image in (fused, *sources)]
        if len({batch.shape for batch in batches}) > 1:
            raise ValueError(f"expected images of one size, found {[tuple(batch.shape) for batch in batches]}")
        if batches[0].numel() == 0:
            raise ValueError(f"expected at least one image of at least 1x1 pixels, found {tuple(batches[0].shape)}")
        self.precision = torch.float64 if fused.dtype == torch.float64 else torch.float32
        self.stack = torch.stack([batch.double() for batch in batches])
        self._known: dict[Callable[[Images], Any], Any] = {}
        low, high = torch.stack(self.stack.aminmax()).tolist()
        if not (low >= -0.5 and high < LEVELS - 0.5):
            raise ValueError(f"expected grey levels in [0, 255], found values from {low:g} to {high:g}")

    @property
    def fused(self) -> Tensor:
        """N×H×W."""
        return self.stack[0]

    @property
    def sources(self) -> Tensor:
        """2×N×H×W."""
        return self.stack[1:]

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.stack.shape[-2] * self.stack.shape[-1]

    def require(self, minimum_side: int) -> None:
        """Refuse images that are smaller than a metric is defined for.

        Raises:
            ValueError: a side is below the minimum [pixels].
        """
        height, width = self.stack.shape[-2:]
        if min(height, width) < minimum_side:
            raise ValueError(f"expected at least {minimum_side}x{minimum_side} pixels, found {height}x{width}")

    def result(self, values: Tensor) -> Tensor:
        """N values in the precision of the images."""
        return values.to(self.precision)

    @property
    def centred(self) -> Tensor:
        """K×N×H×W with mean 0; exactly 0 where an image is constant, the same where two differ by a constant."""
        return self._centred[0]

    @property
    def offset(self) -> Tensor:
        """What `centred` lacks: K×N×1×1."""
        return self._centred[1]

    @cached_property
    def variance(self) -> Tensor:
        """Of all pixels, divided by their number: K×N."""
        return dot(self.centred, self.centred) / self.pixels

    @cached_property
    def error(self) -> Tensor:
        """Squared differences from the fused image: 2×N×H×W summed to 2×N."""
        difference = self.sources - self.fused
        return dot(difference, difference)

    @cached_property
    def levels(self) -> Tensor:
        """Nearest grey levels (ties to even), K×N×P int32."""
        return self.stack.flatten(-2).round().to(torch.int32)

    @cached_property
    def stretched(self) -> Tensor:
        """Each image stretched to its full range, K×N×H×W whole levels; a constant image becomes 0."""
        low, high = self.stack.amin((-2, -1), keepdim=True), self.stack.amax((-2, -1), keepdim=True)
        span = high - low
        scaled = 255 * (self.stack - low) / torch.where(span > 0, span, torch.ones_like(span))
        return (scaled + 0.5).floor_()  # half away from zero

    @cached_property
    def joint(self) -> Tensor:
        """Joint histograms of each source (rows) and the fused image (columns), 2×N×256×256 counts."""
        return joint_histograms(self.levels)

    @cached_property
    def joint_stretched(self) -> Tensor:
        """The same of the stretched images."""
        return joint_histograms(self.stretched.flatten(-2).to(torch.int32))

    def once(self, function: Callable[["Images"], T]) -> T:
        """`function(self)`, computed at the first call: what only related metrics share."""
        if function not in self._known:
            self._known[function] = function(self)
        return cast(T, self._known[function])

    @cached_property
    def _centred(self) -> tuple[Tensor, Tensor]:
        corner = self.stack[..., :1, :1].clone()
        centred = self.stack - corner
        mean = centred.mean(dim=(-2, -1), keepdim=True)
        return centred.sub_(mean), corner + mean


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Σ x y over the pixels of …×H×W."""
    return (x.flatten(-2).unsqueeze(-2) @ y.flatten(-2).unsqueeze(-1))[..., 0, 0]


def products(images: Tensor) -> Tensor:
    """Squares of fused and sources, then products of each source with the fused: 3×N×H×W -> 5×N×H×W."""
    result = images.new_empty(5, *images.shape[1:])
    torch.mul(images, images, out=result[:3])
    torch.mul(images[1:], images[:1], out=result[3:])
    return result


def histograms(levels: Tensor, bins: int = LEVELS) -> Tensor:
    """Counts of each level below `bins` in each image: N×P integers -> N×bins."""
    images = len(levels)
    offsets = bins * torch.arange(images, device=levels.device)[:, None]
    indices = levels if images == 1 else levels + offsets
    return torch.bincount(indices.flatten(), minlength=images * bins).view(images, bins)


def joint_histograms(levels: Tensor) -> Tensor:
    """Of 3×N×P levels (fused, sources): source levels as rows, fused levels as columns, 2×N×256×256."""
    pairs = levels[1:] * LEVELS + levels[:1]
    return torch.stack([histograms(pair, LEVELS**2).view(-1, LEVELS, LEVELS) for pair in pairs])


def _grey_batch(image: Tensor) -> Tensor:
    if not image.is_floating_point():
        raise ValueError(f"expected a floating tensor (integers would wrap), found {image.dtype}")
    if image.ndim == 4 and image.shape[1] == 1:
        image = image.squeeze(1)
    if image.ndim != 3:
        raise ValueError(f"expected grey images as NxHxW or Nx1xHxW, found {tuple(image.shape)}")
    return image
