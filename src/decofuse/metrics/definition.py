"""What the registry says of a metric, and a metric in one convention as callers use it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from decofuse.metrics._images import Images

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Definition:
    """What a metric is, in all its conventions.

    Attributes:
        title: the long name.
        function: f(fused) if `of_fused_alone`, else f(fused, source_a, source_b); with a keyword `convention` if there
            are several. Grey levels in, N values out.
        of_images: the same of images that are checked, so that metrics share what they compute.
        formula: one line, symbols as in the function's docstring.
        range: of the values, with the unit.
        reference: the paper.
        code: whose code the values agree with.
        conventions: name -> one line: units, windows, constants, treatment of the two sources.
        published: the convention that published tables of these methods used.
        standard: the convention to use where nothing has to be compared with published tables.
        direction: whether a higher or a lower value is better.
        channel: what of a colour image is scored.
        of_fused_alone: the sources do not enter.
        minimum_side: the smallest height and width of the images [pixels].
        minimum_sides: the same of conventions that differ.
    """

    title: str
    function: Callable[..., Tensor]
    of_images: Callable[..., Tensor]
    formula: str
    range: str
    reference: str
    code: str
    conventions: Mapping[str, str]
    published: str
    standard: str
    direction: Direction = "higher"
    channel: Literal["grey"] = "grey"
    of_fused_alone: bool = False
    minimum_side: int = 1
    minimum_sides: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """One fusion metric in one convention.

    Attributes:
        of_images: N values of images that are checked.
        direction: whether a higher or a lower value is better.
        channel: what of a colour image is scored.
        formula: one line, symbols as in the function's docstring.
        convention: what differs between implementations: units, windows, constants, treatment of the two sources.
        of_fused_alone: the sources do not enter.
        minimum_side: the smallest height and width of the images [pixels].
    """

    of_images: Callable[[Images], Tensor]
    direction: Direction
    channel: Literal["grey"]
    formula: str
    convention: str
    of_fused_alone: bool = False
    minimum_side: int = 1

    def __call__(self, fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Score N fused images.

        Args:
            fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
            source_a: same shape; not looked at if `of_fused_alone`.
            source_b: the same.

        Returns:
            N values.

        Raises:
            ValueError: see `Images`; or too small.
        """
        return self.of_images(Images(fused) if self.of_fused_alone else Images(fused, source_a, source_b))
