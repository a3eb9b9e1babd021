"""U-Net: an encoder of timm, and a decoder that adds the encoder's maps again from coarse to fine.

Ronneberger et al., MICCAI 2015, arXiv 1505.04597, in the form of segmentation-models-pytorch (MIT).
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decofuse.segmentation.network import SegmentationNetwork, import_torchvision
from decofuse.segmentation.registry import refuse_encoder

STRIDES = (4, 8, 16, 32)


class UNet(SegmentationNetwork):
    """Encoder and decoder with random weights as the libraries draw them.

    14,329,369 parameters by default with 9 classes, 11,176,512 of them in the backbone.

    Args:
        classes: number of classes.
        encoder: name of a model of timm that gives maps at strides 4, 8, 16 and 32 of images of any size.
        decoder: channels after each of the five steps from stride 32 to 1.

    Raises:
        ValueError: an argument is out of range, or the encoder's licence forbids commercial use.
    """

    # Batch norms of a ResNet are bn1, bn2, bn3, and the second module of a block's shortcut.
    undecayed = ("norm", ".bn", ".0.downsample.1.")

    def __init__(
        self, classes: int, *, encoder: str = "resnet18", decoder: Sequence[int] = (256, 128, 64, 32, 16)
    ) -> None:
        super().__init__()
        refuse_encoder(encoder)
        if len(decoder) != len(STRIDES) + 1 or min(classes, *decoder) < 1:
            raise ValueError(
                f"unet: expected five widths of the decoder and classes, at least 1 each, found {tuple(decoder)} and "
                f"{classes}"
            )
        import_torchvision()
        import timm
        from segmentation_models_pytorch import Unet

        # A name with an address in it would be looked up on the network.
        if not timm.is_model(encoder) or timm.get_pretrained_cfg(encoder).fixed_input_size:
            raise ValueError(
                f"unet: expected an encoder of timm that takes images of any size, found {encoder}; choose a name of "
                "timm.list_models(), such as resnet18"
            )
        try:
            whole = Unet(f"tu-{encoder}", encoder_weights=None, decoder_channels=tuple(decoder), classes=classes)
        except (RuntimeError, ValueError) as error:
            raise ValueError(_unfit(encoder)) from error
        if tuple(whole.encoder.model.feature_info.reduction()[-4:]) != STRIDES:
            raise ValueError(_unfit(encoder))
        self.encoder = encoder
        self.channels = tuple(whole.encoder.out_channels[-4:])
        self.backbone = whole.encoder
        self.head = nn.Sequential(whole.decoder, whole.segmentation_head)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The encoder's maps, see the base class."""
        return tuple(self.backbone(image)[-4:])

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the decoder, see the base class."""
        logits: Tensor = self.head(self.backbone(image))
        return logits

    def given_name(self, name: str) -> str | None:
        """Our name of a tensor of timm's whole model, see the base class."""
        first, _, rest = name.partition(".")
        children = dict(self.backbone.model.named_children())
        second, _, inner = rest.partition(".")
        bare = f"{first}_{second}.{inner}" if f"{first}_{second}" in children else name  # timm flattens sequences
        own = f"backbone.model.{bare}"
        known = own in self.state_dict(keep_vars=True)
        return None if not known and name in _names_of_whole(self.encoder) else own


def _unfit(encoder: str) -> str:
    return (
        f"unet: expected an encoder with maps at strides 4, 8, 16 and 32, found {encoder}; choose another one, such as "
        "resnet18"
    )


@functools.cache
def _names_of_whole(encoder: str) -> frozenset[str]:
    """Names of the tensors of timm's whole model, what classifies in the end among them."""
    import timm

    with torch.random.fork_rng(devices=[]):
        whole: Any = timm.create_model(encoder, pretrained=False)
    return frozenset(whole.state_dict())
