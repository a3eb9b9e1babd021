"""PSFusion behind its encoders: fusion of six levels, then a semantic branch, with logits of it, and a restoration.

Source: Tang et al., PSFusion, Information Fusion 99 (2023) 101870, in the form of its published code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.psfusion_blocks import DeepFusion, DenseDecoder, SemanticInjection, ShallowFusion, TwiceNormed


class LevelFusion(nn.Module):
    """Fusion of the sources at each of six levels: the finer three pixel by pixel, the coarser three by attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // 2
        shallow = ((narrow, narrow), (channels, narrow), (channels, channels))
        self.levels = nn.ModuleList(
            (
                *(ShallowFusion(inputs, outputs) for inputs, outputs in shallow),
                *(DeepFusion(channels * 2**i, channels) for i in (1, 2, 3)),
            )
        )

    def forward(self, visible: Sequence[Tensor], infrared: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Six levels of both sources, finest first, → six levels of width C/2, C/2, C, C, C and C."""
        return tuple(fuse(a, b) for fuse, a, b in zip(self.levels, visible, infrared, strict=True))


class SemanticBranch(nn.Module):
    """Four fused levels → one map (S2PM): each convolved, enlarged to the finest of them, joined and decoded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), _enlarge(2**i)) for i in range(4)
        )
        widths = (4 * channels, channels, channels)
        self.blocks = nn.Sequential(*(TwiceNormed(width, channels) for width in widths))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """N×C×H/4×W/4, …, N×C×H/32×W/32 → N×C×H/4×W/4."""
        joined = torch.cat([lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)], dim=1)
        decoded: Tensor = self.blocks(joined)
        return decoded


class PixelClassifier(nn.Module):
    """1×1 convolution, batch norm and ReLU6, then a 3×3 convolution to logits."""

    def __init__(self, inputs: int, inner: int, classes: int, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, inner, 1, bias=bias)
        self.norm = nn.BatchNorm2d(inner)
        self.output = nn.Conv2d(inner, classes, 3, padding=1)

    def features(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W → N×inner×H×W, what the logits are made of."""
        return F.relu6(self.norm(self.conv(maps)))

    def forward(self, maps: Tensor) -> Tensor:
        """N×inputs×H×W → N×classes×H×W."""
        logits: Tensor = self.output(self.features(maps))
        return logits


class Segmentation(nn.Module):
    """Semantic features → logits (S2P2); where no object is likely they are damped before classes are told apart."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.binary = PixelClassifier(channels, channels // 4, 2)
        self.semantic = PixelClassifier(channels, channels, classes)
        self.boundary = PixelClassifier(2 * channels, channels, 2, bias=True)
        self.twice, self.four_times = _enlarge(2), _enlarge(4)

    def forward(self, semantic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """N×C×H/4×W/4 → logits of classes, of object and of boundary, each N×…×H×W."""
        binary = self.binary(semantic)
        objects = semantic * binary.softmax(dim=1)[:, 1:]
        inner = self.semantic.features(self.twice(objects))
        boundary = self.boundary(torch.cat((inner, self.twice(semantic)), dim=1))
        return self.twice(self.semantic.output(inner)), self.four_times(binary), self.twice(boundary)


class Restoration(nn.Module):
    """The three finest fused levels and the semantic features → features of the images, at full size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // 2
        self.injections = nn.ModuleList(SemanticInjection(narrow, guides) for guides in (channels, narrow, channels))
        self.decoder = DenseDecoder(narrow)
        self.refine = DenseDecoder(narrow)

    def forward(self, levels: Sequence[Tensor], semantic: Tensor) -> Tensor:
        """N×C/2×H×W, N×C/2×H/2×W/2 and N×C×H/4×W/4, with N×C×H/4×W/4 → N×C/2×H×W."""
        finest, finer, fine = levels
        scene = self.injections[1](finest, self.injections[0](finer, fine))
        restored: Tensor = self.refine(self.injections[2](self.decoder(scene), semantic))
        return restored


def _enlarge(factor: int) -> nn.Module:
    """Bilinear enlargement with corners aligned."""
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=True) if factor > 1 else nn.Identity()
