"""SegFormer: a hierarchical transformer and a head of one linear layer a level.

Xie et al., NeurIPS 2021, arXiv 2105.15203, in the form of transformers (Apache-2.0); the defaults are the smallest
published size (B0). NVIDIA's code and its pretrained weights are for non-commercial use.
"""

import re
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from decofuse.segmentation.network import SegmentationNetwork, import_torchvision

# Pattern -> replacement, in order: names in published files -> names of the modules of transformers 5.
PUBLISHED_NAMES = (
    (r"^encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
    (r"^encoder\.block\.(\d+)\.", r"stages.\1.blocks."),
    (r"^encoder\.layer_norm\.(\d+)\.", r"stages.\1.layer_norm."),
    (r"\.attention\.self\.query\.", ".attention.q_proj."),
    (r"\.attention\.self\.key\.", ".attention.k_proj."),
    (r"\.attention\.self\.value\.", ".attention.v_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense(\d)\.", r".mlp.fc\1."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
)


class SegFormer(SegmentationNetwork):
    """Backbone and head of transformers, with random weights as it draws them.

    3,716,457 parameters by default with 9 classes, 3,319,392 of them in the backbone.

    Args:
        classes: number of classes.
        widths: channels of each of the four levels, multiples of its heads.
        depths: blocks of each level.
        heads: attention heads of each level.
        decoder: width of the head.
        drop_path: probability of the last block, to which it rises linearly from 0 at the first.
        dropout: probability that a value of the head is left out before the classification, in training.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        classes: int,
        *,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
        decoder: int = 256,
        drop_path: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not len(widths) == len(depths) == len(heads) == 4 or min(classes, decoder, *widths, *depths, *heads) < 1:
            raise ValueError(
                "segformer: expected widths, depths and heads of four levels, classes and decoder, at least 1 each, "
                f"found {tuple(widths)}, {tuple(depths)}, {tuple(heads)}, {classes} and {decoder}"
            )
        if any(width % count for width, count in zip(widths, heads, strict=True)):
            raise ValueError(f"segformer: expected widths {tuple(widths)} to be multiples of heads {tuple(heads)}")
        if not 0 <= drop_path < 1 or not 0 <= dropout < 1:
            raise ValueError(f"segformer: expected probabilities in [0, 1), found {drop_path} and {dropout}")
        import_torchvision()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        whole = SegformerForSemanticSegmentation(
            SegformerConfig(
                num_labels=classes,
                hidden_sizes=tuple(widths),
                depths=tuple(depths),
                num_attention_heads=tuple(heads),
                decoder_hidden_size=decoder,
                drop_path_rate=drop_path,
                classifier_dropout_prob=dropout,
            )
        )
        self.channels = tuple(widths)
        self.backbone = whole.segformer
        self.head = whole.decode_head

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The normalised map of each level, see the base class."""
        maps: tuple[Tensor, ...] = self.backbone(image, output_hidden_states=True).hidden_states
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Logits of a quarter of the size, enlarged bilinearly; see the base class."""
        return F.interpolate(self.head(self.features(image)), image.shape[-2:], mode="bilinear", align_corners=False)

    def given_name(self, name: str) -> str | None:
        """Our name of a tensor of transformers, as it writes files or names modules; see the base class."""
        if name.startswith(("classifier.", "decode_head.")):
            return None
        bare = name.removeprefix("segformer.")
        for pattern, replacement in PUBLISHED_NAMES:
            bare = re.sub(pattern, replacement, bare)
        return f"backbone.{bare}"
