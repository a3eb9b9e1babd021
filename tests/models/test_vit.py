"""Vision transformer parts: what golden vectors do not show."""

import pytest
import torch

from decofuse.models.mae import Filled, MaskedAutoencoder, masked_patch_loss
from decofuse.models.vit import (
    ViTBlock,
    ViTEncoder,
    choose,
    interpolate_table,
    kept_tokens,
    normalise,
    patchify,
    sincos_table,
    unpatchify,
)

SMALL = {"width": 16, "depth": 2, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_size_of_a_block():
    assert parameters(ViTBlock(192, 6)) == 444_864


def test_published_size_of_the_autoencoder():
    """Upstream counts its position tables too: 197 tokens of width 768, and of 512 in the decoder."""
    with torch.device("meta"):
        network = MaskedAutoencoder()
    assert parameters(network.encoder) + parameters(network.norm) == 85_798_656 - 197 * 768
    assert parameters(network) == 111_907_840 - 197 * (768 + 512)


def test_stochastic_depth_skips_a_branch_of_whole_samples():
    torch.manual_seed(0)
    block = ViTBlock(8, 2, drop_path=0.5)
    tokens = random(64, 5, 8)
    with torch.no_grad():
        outputs = block(tokens)
        attended = block._attend(block.norm1(tokens))
    skipped = (outputs == tokens).all(dim=(1, 2))
    assert 0.1 < skipped.double().mean() < 0.45  # both branches: a quarter
    second = tokens + 2 * attended  # of a sample that keeps its first branch, twice as strong
    only_first = (outputs - second).abs().amax(dim=(1, 2)) < 1e-5
    assert 0.1 < only_first.double().mean() < 0.45
    assert torch.equal(block.eval()(tokens), block(tokens))


def test_only_the_last_block_is_never_skipped():
    encoder = ViTEncoder(16, 8, 16, 3, 2, last_heads=4, drop_path=0.1)
    assert [block.drop_path for block in encoder.blocks] == [0.1, 0.1, 0.0]
    assert [block.heads for block in encoder.blocks] == [2, 2, 4]


def test_initial_weights():
    torch.manual_seed(0)
    encoder = ViTEncoder(32, 8, 64, 1, 2)
    limit = (6 / (64 + 3 * 8 * 8)) ** 0.5
    assert encoder.embed.weight.abs().max() <= limit
    assert encoder.embed.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert encoder.class_token.std().item() == pytest.approx(0.02, rel=0.5)
    assert not any(parameter.any() for name, parameter in encoder.named_parameters() if name.endswith("bias"))


def test_tables_are_no_weights():
    assert not [name for name in MaskedAutoencoder(16, 8, **SMALL).state_dict() if "table" in name]


def test_the_position_table_tells_the_column_first():
    table = sincos_table(3, 8)[0]
    assert not table[0].any()
    patches = table[1:].reshape(3, 3, 8)
    assert torch.equal(patches[0, :, :4], patches[2, :, :4])
    assert torch.equal(patches[:, 0, 4:], patches[:, 2, 4:])
    torch.testing.assert_close(patches[1, 2], _entry(2, 1))


def _entry(column, row):
    angles = torch.tensor([1.0, 0.01])
    return torch.cat([wave for place in (column, row) for wave in ((place * angles).sin(), (place * angles).cos())])


@pytest.mark.parametrize("excess", [0, 0.1])
def test_positions_of_another_grid_run_from_end_to_end(excess):
    table = sincos_table(14, 8)
    wide = interpolate_table(table, 14, 28, excess)
    assert wide.shape == (1, 1 + 14 * 28, 8)
    assert torch.equal(wide[:, 0], table[:, 0])
    rows = wide[0, 1:].reshape(14, 28, 8)[..., 4:]
    assert (rows - rows[:, :1]).abs().max() < 1e-5  # rows do not depend on the column
    assert interpolate_table(table, 14, 14, excess) is table


def test_patches_and_back():
    images = random(2, 3, 8, 12)
    patches = patchify(images, 4)
    assert patches.shape == (2, 6, 48)
    assert torch.equal(patches[1, 4].reshape(4, 4, 3).permute(2, 0, 1), images[1, :, 4:8, 4:8])
    assert torch.equal(unpatchify(patches, 4, 2, 3), images)


def test_normalise():
    images = torch.tensor([0.485, 0.456 + 0.224, 0.406 - 0.225]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(normalise(images).flatten(), torch.tensor([0.0, 1.0, -1.0]), atol=1e-6, rtol=0)


def test_a_quarter_is_kept_by_lowest_noise():
    noise = torch.tensor([[0.5, 0.1, 0.9, 0.2, 0.3, 0.8, 0.7, 0.6, 0.4]])
    choice = choose(noise)
    assert choice.keep.tolist() == [[1, 3]]
    assert choice.restore.tolist() == [noise.argsort().argsort()[0].tolist()]
    tokens = torch.arange(10.0).reshape(1, 10, 1)
    assert kept_tokens(tokens, choice).flatten().tolist() == [0, 2, 4]


def test_what_is_masked_has_no_part_in_the_prediction():
    torch.manual_seed(0)
    network = MaskedAutoencoder(16, 4, **SMALL).eval()
    images, noise = random(1, 3, 16, 16), random(1, 16)
    masked = network(images, noise).mask[0].bool()
    assert masked.sum() == 12
    changed = unpatchify(torch.where(masked[:, None], 0.5, patchify(images, 4)), 4, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(network(changed, noise).predicted, network(images, noise).predicted)


def test_only_masked_patches_count():
    images, mask = random(1, 3, 8, 8), torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    predicted = patchify(images, 4)
    predicted[:, 1:3] += 5
    assert masked_patch_loss(images, Filled(mask, predicted, mask), 4, False) == 0
    predicted[:, 0] += 1
    assert masked_patch_loss(images, Filled(mask, predicted, mask), 4, False) == pytest.approx(0.5)


def test_normalised_patches_forget_brightness_and_contrast():
    images, mask = random(1, 3, 8, 8), torch.ones(1, 4)
    filled = Filled(mask, random(1, 4, 48, seed=1), mask)
    losses = [masked_patch_loss(image, filled, 4, True) for image in (images, 0.3 * images + 0.2)]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=0)
