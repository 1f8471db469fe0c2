import copy

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import BEiTViT
from mmpretrain.models.utils import resize_relative_position_bias_table

from mimselfsup.engine.checkpoint import CheckpointError, load_weights
from mimselfsup.models.backbones import MaskedViT, RelativeViT
from mimselfsup.models.backbones.positions import resize_relative_table_as_beit
from mimselfsup.structures import TokenMask
from tests.test_models.conftest import TINY, randomise


def build(**settings):
    torch.manual_seed(0)
    return randomise(RelativeViT(TINY, img_size=(32, 24), patch_size=8, **settings)).eval()


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(final_norm=True, use_abs_pos_emb=True),
        dict(with_cls_token=False, use_rel_pos_bias=False, use_abs_pos_emb=True),
        dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True),
    ],
)
def test_tokens_are_those_of_mmpretrain(settings):
    backbone = build(**settings)
    parent = BEiTViT(TINY, img_size=(32, 24), patch_size=8, **settings | dict(out_type='raw'))
    parent.load_state_dict(backbone.state_dict(), strict=False)
    parent.eval()
    images = torch.randn(2, 3, 32, 24)
    with torch.no_grad():
        tokens, (expected,) = backbone.encode(images), parent(images)
    torch.testing.assert_close(torch.cat([tokens.extra, tokens.patches], 1), expected)
    assert tokens.grid == (4, 3) and tokens.extra.shape[1] == settings.get('with_cls_token', True)


def test_it_says_what_it_cannot_do():
    backbone = build()
    images = torch.randn(1, 3, 32, 24)
    with pytest.raises(ValueError, match='images of 32 x 20 pixels are no whole number of patches of 8 x 8'):
        backbone.encode(images[..., :20])
    for asked in (dict(token_mask=TokenMask(torch.zeros(1, 12, dtype=torch.bool))), dict(cls_attention=True)):
        with pytest.raises(ValueError, match='use a MaskedViT'):
            backbone.encode(images, **asked)
    assert backbone.train() is backbone


def pretrained_by_beit():
    """As BEiT is pre-trained here: one table for all blocks, a full bias of queries, keys and values."""
    backbone = MaskedViT(
        TINY,
        img_size=32,
        patch_size=8,
        hidden='replace',
        position='shared_relative',
        layer_scale_init_value=0.1,
        out_type='featmap',
        out_indices=[0, 2],
        final_norm=False,
    )
    return randomise(backbone).eval()


@pytest.mark.parametrize('size', [(32, 32), (16, 40)])
def test_features_are_those_of_the_shared_table_that_is_loaded(size):
    """At the size of the table, and at any other: then both resize it alike."""
    shared = pretrained_by_beit()
    own = RelativeViT(TINY, img_size=32, patch_size=8, out_type='featmap', out_indices=[0, 2]).eval()
    report = load_weights(own, {f'backbone.{name}': value for name, value in shared.state_dict().items()}, 'backbone.')
    assert not report.missing and report.left_out == ['mask_token']
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        for ours, theirs in zip(own(images), shared(images), strict=True):
            assert ours.shape[-2:] == (size[0] // 8, size[1] // 8)
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(own.encode(images).patches, shared.encode(images).patches, rtol=1e-4, atol=1e-5)


def test_loading_for_another_size_resizes_each_table():
    small, large = (randomise(RelativeViT(TINY, img_size=size, patch_size=8)) for size in (32, 56))
    saved = copy.deepcopy(small.state_dict())
    report = load_weights(large, saved)
    assert sorted(report.resized) == [f'layers.{i}.attn.relative_position_bias_table' for i in range(3)]
    for ours, theirs in zip(large.layers, small.layers, strict=True):
        wanted = resize_relative_table_as_beit(theirs.attn.relative_position_bias_table, (4, 4), (7, 7))
        torch.testing.assert_close(ours.attn.relative_position_bias_table, wanted)
    assert large.eval().encode(torch.randn(1, 3, 56, 56)).grid == (7, 7)
    # Of a grid that is not square nobody can tell the sides.
    with pytest.raises(CheckpointError, match='shapes differ'):
        load_weights(large, randomise(RelativeViT(TINY, img_size=(32, 24), patch_size=8)).state_dict())


@pytest.mark.parametrize(('source', 'grid'), [(4, 7), (14, 40), (14, 32), (14, 10)])
def test_tables_are_resized_as_mmpretrain_did_while_scipy_let_it(source, grid, monkeypatch):
    """``interp2d`` is gone; its documented successor takes its place in mmpretrain's function."""
    from scipy import interpolate

    def interp2d(x, y, z, kind):
        spline = interpolate.RectBivariateSpline(y, x, z, s=0)
        return lambda new_x, new_y: spline(new_y, new_x)

    monkeypatch.setattr(interpolate, 'interp2d', interp2d)
    table = torch.randn((2 * source - 1) ** 2 + 3, 2)
    ours = resize_relative_table_as_beit(table, (source, source), (grid, grid))
    theirs = resize_relative_position_bias_table(2 * source - 1, 2 * grid - 1, table[:-3], 2)
    torch.testing.assert_close(ours[:-3], theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours[-3:], table[-3:])


def test_neighbours_and_the_farthest_keep_their_bias_in_a_larger_table_of_any_shape():
    """A table that depends on the row alone, of a grid that is not square."""
    rows = torch.arange(-3.0, 4.0).abs().neg().exp()
    table = torch.cat([rows.repeat_interleave(5), torch.tensor([7.0, 8.0, 9.0])]).unsqueeze(1)  # of 4 x 3 patches
    resized = resize_relative_table_as_beit(table, (4, 3), (5, 4))[:-3, 0].unflatten(0, (9, 7))
    np.testing.assert_allclose(resized.std(1), 0, atol=1e-6)
    np.testing.assert_allclose(resized[[0, 3, 4, 5, 8], 0], rows[[0, 2, 3, 4, 6]], rtol=1e-4)


def test_gradients_reach_every_table_at_another_size():
    backbone = build(out_type='featmap').train()
    backbone(torch.randn(1, 3, 24, 40))[0].square().sum().backward()
    assert all(layer.attn.relative_position_bias_table.grad.abs().sum() > 0 for layer in backbone.layers)
