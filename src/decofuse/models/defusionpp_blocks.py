"""How DeFusion++ takes the tokens of two images apart and joins them again, and what it makes of them.

Every token sequence is N×(1+L)×D. Taking apart and joining is attention between the images, done twice with weights of
their own: on deep tokens, from the end of the encoder, and on shallow ones, from its beginning.
"""

from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.vit import Choice, Encoded, ViTBlock, kept_tokens

DROPOUT = 0.1
Direction = Literal["12", "21", "both"]


class Tokens(NamedTuple):
    """Deep and shallow tokens of one thing."""

    deep: Tensor
    shallow: Tensor

    def kept(self, choice: Choice) -> "Tokens":
        """The class token and the chosen patches of both."""
        return Tokens(kept_tokens(self.deep, choice), kept_tokens(self.shallow, choice))


class Parts(NamedTuple):
    """What two images are taken apart into.

    Attributes:
        common: of the direction asked for (12 if both).
        unique_first: what only the first image shows.
        unique_second: what only the second image shows.
        reverse: common tokens of direction 21, if both were asked for.
    """

    common: Tokens
    unique_first: Tokens
    unique_second: Tokens
    reverse: Tokens | None = None

    def kept(self, choice: Choice) -> "Parts":
        """The class token and the chosen patches of each part but `reverse`."""
        return Parts(*(part.kept(choice) for part in (self.common, self.unique_first, self.unique_second)))


class CrossAttention(nn.Module):
    """Post-norm attention between two token sequences, then a ReLU feed-forward.

    Queries, keys and values pass two linear maps in a row, as in the published code.

    Args:
        width: D, a multiple of `heads`.
        heads: attention heads.
        mlp_ratio: hidden width of the feed-forward over D.
        keys: sequence that the keys come from; the queries are the second's, the values the first's. With `first` this
            is attention across the images, with `second` the first image's values in the second image's own pattern.
    """

    recomputable: ClassVar[bool] = True

    def __init__(self, width: int, heads: int, mlp_ratio: int, keys: Literal["first", "second"]) -> None:
        super().__init__()
        self.keys = keys
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, mlp_ratio * width)
        self.reduce = nn.Linear(mlp_ratio * width, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Attend; the residual is `second`. Both are N×T×D, and so is the result."""
        tokens = self.norm1(second + self.dropout(self.attend(first, second)))
        hidden = self.dropout(self.expand(tokens).relu())
        out: Tensor = self.norm2(tokens + self.dropout(self.reduce(hidden)))
        return out

    def attend(self, first: Tensor, second: Tensor) -> Tensor:
        """The attention alone, projected: N×T×D."""
        keys = self.key(first if self.keys == "first" else second)
        out: Tensor = self.attention(self.query(second), keys, self.value(first), need_weights=False)[0]
        return out


class DecompositionLevel(nn.Module):
    """Common and unique tokens of two images, at one depth."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.common = CrossAttention(width, heads, mlp_ratio, keys="second")
        self.unique = CrossAttention(width, heads, mlp_ratio, keys="first")
        self.residual = ViTBlock(width, heads, mlp_ratio)

    def unique_to(self, own: Tensor, other: Tensor) -> Tensor:
        """What only the image of `own` shows."""
        unique: Tensor = self.unique(other, own) + self.residual(own)
        return unique


class Decomposition(nn.Module):
    """Tokens of two images → common and unique tokens.

    Args:
        width: D, a multiple of `heads`.
        heads: attention heads.
        mlp_ratio: hidden width of the feed-forwards over D.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm_embedded = nn.LayerNorm(width)
        self.norm_early = nn.LayerNorm(width)
        self.deep = DecompositionLevel(width, heads, mlp_ratio)
        self.shallow = DecompositionLevel(width, heads, mlp_ratio)

    def forward(self, first: Encoded, second: Encoded, direction: Direction) -> Parts:
        """Take apart; `direction` says which image's values the common tokens hold (12: the first one's)."""
        one, two = self._tokens(first), self._tokens(second)
        common, reverse = self._common(one, two, direction != "21"), None
        if direction == "both":
            reverse = self._common(one, two, forwards=False)
        return Parts(common, self._unique(one, two), self._unique(two, one), reverse)

    def _tokens(self, image: Encoded) -> Tokens:
        return Tokens(image.final, self.norm_embedded(image.embedded) + self.norm_early(image.early))

    def _common(self, one: Tokens, two: Tokens, forwards: bool) -> Tokens:
        from_, to = (one, two) if forwards else (two, one)
        return Tokens(self.deep.common(from_.deep, to.deep), self.shallow.common(from_.shallow, to.shallow))

    def _unique(self, own: Tokens, other: Tokens) -> Tokens:
        return Tokens(self.deep.unique_to(own.deep, other.deep), self.shallow.unique_to(own.shallow, other.shallow))


class Joined(NamedTuple):
    """Fused tokens, and what two further blocks make of them."""

    tokens: Tensor
    refined: Tensor


class Fusion(nn.Module):
    """Common and unique tokens → fused tokens.

    Args:
        width: D, a multiple of `heads`.
        heads: attention heads.
        mlp_ratio: hidden width of the feed-forwards over D.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.deep = CrossAttention(width, heads, mlp_ratio, keys="first")
        self.shallow = CrossAttention(width, heads, mlp_ratio, keys="first")
        self.refine = nn.Sequential(*(ViTBlock(width, heads, mlp_ratio) for _ in range(2)))

    def forward(self, parts: Parts) -> Joined:
        """Join all tokens, or those kept of them."""
        common, *uniques = parts[:3]
        deep = [self.deep(common.deep, unique.deep) for unique in uniques]
        shallow = [self.shallow(common.shallow, unique.shallow) for unique in uniques]
        tokens = deep[0] + deep[1] + shallow[0] + shallow[1]
        return Joined(tokens, self.refine(tokens))


class Predictions(NamedTuple):
    """Teachers' tokens as predicted, N×(1+L)×D of the teacher; common tokens of both directions, N×(1+L)×D."""

    infrared: Tensor
    visible: Tensor
    common: Tensor
    reverse: Tensor


class PatchHead(nn.Module):
    """Tokens → pixels of each patch: a block and a linear map, the class token left out."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, patch: int) -> None:
        super().__init__()
        self.block = ViTBlock(width, heads, mlp_ratio)
        self.project = nn.Linear(width, 3 * patch**2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map N×(1+L)×D to N×L×3P²."""
        pixels: Tensor = self.project(self.block(tokens))
        return pixels[:, 1:]


class Predictors(nn.Module):
    """Parts of an infrared-visible pair → the teachers' tokens."""

    def __init__(self, width: int, teacher_width: int) -> None:
        super().__init__()
        self.norm_infrared = nn.LayerNorm(width)
        self.norm_visible = nn.LayerNorm(width)
        self.infrared = nn.Linear(width, teacher_width)
        self.visible = nn.Linear(width, teacher_width)

    def forward(self, parts: Parts) -> Predictions:
        """Predict from the parts of direction `both`; the first image is the infrared one."""
        sums = [part.deep + part.shallow for part in parts if part]
        common, reverse = (F.layer_norm(tokens, tokens.shape[-1:]) for tokens in (sums[0], sums[3]))
        infrared = self.infrared(self.norm_infrared(sums[1]) + common)
        visible = self.visible(self.norm_visible(sums[2]) + reverse)
        return Predictions(infrared, visible, common, reverse)
