"""ViTDet against mmpretrain's ViT where windows make no difference, and against loops over places where they do."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import VisionTransformer

from mimselfsup.engine.checkpoint import load_pretrained, load_weights
from mimselfsup.models.backbones import MaskedViT
from mimselfsup.models.backbones.masked_vit import relative_bias
from mimselfsup.transfer.models import ViTDet
from mimselfsup.transfer.models.vitdet import attend

ARCH = dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=40)
SIZES = dict(arch=ARCH, img_size=16, patch_size=4)  # pre-trained on 4 x 4 patches


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def with_random_weights(model, tables=True):
    for name, parameter in model.named_parameters():
        if tables or 'rel_pos_' not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def vitdet(tables=True, **kwargs):
    return with_random_weights(ViTDet(**{**SIZES, 'input_size': 32, **kwargs}), tables)


@pytest.mark.parametrize('blocks', [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize('grid', [(4, 4), (5, 7), (7, 2)])
def test_where_a_window_covers_the_image_it_is_mmpretrains_vit(blocks, grid):
    model = vitdet(tables=False, window_size=7, global_blocks=blocks, out_indices=(0, 2))
    plain = VisionTransformer(with_cls_token=False, out_type='featmap', final_norm=False, out_indices=(0, 2), **SIZES)
    plain.eval()  # returns None
    load_weights(plain, model.state_dict())
    images = torch.randn(2, 3, *(4 * side for side in grid))
    for ours, theirs in zip(model(images), plain(images), strict=True):
        assert ours.shape == (2, 24, *grid)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('blocks', [(), (0, 1, 2)])
@pytest.mark.parametrize('grid', [(4, 4), (6, 5)])
def test_shared_relative_positions_are_those_of_masked_vit(blocks, grid):
    model = vitdet(False, position='shared_relative', window_size=6, global_blocks=blocks, final_norm=True)
    plain = MaskedViT(position='shared_relative', with_cls_token=False, out_type='featmap', **SIZES).eval()
    load_weights(plain, model.state_dict())
    images = torch.randn(1, 3, *(4 * side for side in grid))
    torch.testing.assert_close(model(images)[0], plain(images)[0], rtol=1e-5, atol=1e-5)


def test_shared_relative_positions_of_smaller_windows_are_by_distance():
    """Not those of a table resized to the window: two patches keep their distance wherever a window ends."""
    model = vitdet(position='shared_relative', window_size=3, global_blocks=())
    whole = relative_bias(model.rel_pos_bias, (4, 4)).view(2, 4, 4, 4, 4)
    biases = model._shared_biases((5, 7))
    assert biases.keys() == {(3, 3), (3, 1), (2, 3), (2, 1)}
    for (rows, columns), bias in biases.items():
        bias = bias.view(2, rows, columns, rows, columns)
        torch.testing.assert_close(bias, whole[:, :rows, :columns, :rows, :columns])


@pytest.mark.parametrize('pad_windows', [False, True])
def test_a_change_in_one_window_stays_in_it(pad_windows):
    model = vitdet(window_size=3, global_blocks=(), pad_windows=pad_windows)
    images = torch.randn(1, 3, 32, 28)  # 8 x 7 patches: 3 + 3 + 2 and 3 + 3 + 1
    before = model(images)[0]
    for row, column in [(0, 0), (2, 1), (5, 6), (7, 6)]:
        changed = images.clone()
        changed[:, :, 4 * row, 4 * column] += 1
        differs = (model(changed)[0] != before).any(1)[0]
        inside = torch.zeros(8, 7, dtype=torch.bool)
        top, left = row // 3 * 3, column // 3 * 3
        inside[top : top + 3, left : left + 3] = True
        assert torch.equal(differs, inside)


def test_a_global_block_sees_everything():
    model = vitdet(window_size=3, global_blocks=(1,))
    images = torch.randn(1, 3, 32, 28)
    changed = images.clone()
    changed[:, :, 0, 0] += 1
    assert (model(changed)[0] != model(images)[0]).any(1).all()


def attention_by_hand(query, key, value, tables, keys=None):
    """Place by place. query, key, value: (h, w, d); tables by distance + side - 1; ``keys``: the places seen."""
    height, width, dims = query.shape
    places = [(i, j) for i in range(height) for j in range(width)]
    keys = places if keys is None else keys
    out = torch.zeros_like(value)
    for i, j in places:
        logits = torch.stack(
            [
                query[i, j] @ key[row, column] / math.sqrt(dims)
                + query[i, j] @ tables[0][i - row + (len(tables[0]) - 1) // 2]
                + query[i, j] @ tables[1][j - column + (len(tables[1]) - 1) // 2]
                for row, column in keys
            ]
        )
        out[i, j] = sum(weight * value[place] for weight, place in zip(logits.softmax(0), keys, strict=True))
    return out


@pytest.mark.parametrize('own', [(3, 4), (5, 6)])
def test_decomposed_positions_equal_the_formula(own):
    query, key, value = torch.randn(3, 2, 2, 3, 4, 6, dtype=torch.float64)
    tables = [torch.randn(2 * side - 1, 6, dtype=torch.float64) for side in own]
    mixed = attend(query, key, value, tables)
    for sample in range(2):
        for head in range(2):
            expected = attention_by_hand(query[sample, head], key[sample, head], value[sample, head], tables)
            torch.testing.assert_close(mixed[sample, head], expected.flatten(0, 1))


def test_tables_are_stretched_for_larger_grids():
    """As detectron2 does: linear interpolation of the table to as many entries as the grid has distances."""
    query, key, value = torch.randn(3, 1, 1, 5, 4, 6)
    tables = [torch.randn(2 * 3 - 1, 6), torch.randn(2 * 4 - 1, 6)]
    stretched = F.interpolate(tables[0].T[None], size=9, mode='linear', align_corners=False)[0].T
    expected = attention_by_hand(query[0, 0], key[0, 0], value[0, 0], [stretched, tables[1]])
    torch.testing.assert_close(attend(query, key, value, tables)[0, 0], expected.flatten(0, 1))


@pytest.mark.parametrize('pad_windows', [False, True])
def test_border_windows(pad_windows):
    """Of 5 x 4 patches in windows of 3: without padding tokens, or with those that detectron2's zeros make."""
    model = vitdet(window_size=3, global_blocks=(), pad_windows=pad_windows)
    layer = model.layers[0]
    tokens = torch.randn(1, 20, 24)
    mixed = model._mix(layer, tokens, (5, 4), 3, {})[0].view(5, 4, 2, 12)
    padded = torch.zeros(6, 6, 24)
    padded[:5, :4] = tokens.view(5, 4, 24)
    query, key, value = layer.attn.qkv(padded).view(6, 6, 3, 2, 12).unbind(2)
    tables = (layer.attn.rel_pos_h, layer.attn.rel_pos_w)
    for top in (0, 3):
        for left in (0, 3):
            window = (slice(top, top + 3), slice(left, left + 3))
            real = [(i, j) for i in range(3) for j in range(3) if pad_windows or (top + i < 5 and left + j < 4)]
            for head in range(2):
                expected = attention_by_hand(*(x[window][:, :, head] for x in (query, key, value)), tables, real)
                got = mixed[window][:, :, head]
                torch.testing.assert_close(got, expected[: got.shape[0], : got.shape[1]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('extra', [1, 8])
def test_checkpoints_of_pre_training_fill_it(extra, tmp_path):
    """[CLS] and mask tokens stay out, absolute positions keep their places, tables are zeros."""
    trained = with_random_weights(MaskedViT(num_cls_tokens=extra, hidden='replace', **SIZES))
    path = tmp_path / 'pre-training.pth'
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in trained.state_dict().items()}), path)
    detector = torch.nn.Module()
    detector.backbone = vitdet(window_size=8)
    report = load_pretrained(detector, path)
    assert report.left_out == ['cls_token', 'ln1.bias', 'ln1.weight', 'mask_token']
    plain = MaskedViT(with_cls_token=False, out_type='featmap', final_norm=False, **SIZES).eval()
    load_weights(plain, {**trained.state_dict(), 'pos_embed': trained.pos_embed[:, extra:]})
    images = torch.randn(1, 3, 32, 24)
    torch.testing.assert_close(detector.backbone(images), plain(images), rtol=1e-5, atol=1e-5)


def test_positions_of_another_grid_are_resized_without_those_of_cls():
    trained = with_random_weights(MaskedViT(**{**SIZES, 'img_size': 24}, num_cls_tokens=3))
    model = vitdet()
    load_weights(model, trained.state_dict(), allow_missing=('ln1',))
    resized = F.interpolate(trained.pos_embed[:, 3:].mT.unflatten(2, (6, 6)), (4, 4), mode='bicubic')
    torch.testing.assert_close(model.pos_embed, resized.flatten(2).mT)


def test_a_table_shared_by_all_blocks_loads_without_the_rows_of_cls():
    trained = with_random_weights(MaskedViT(position='shared_relative', **SIZES))
    model = vitdet(position='shared_relative')
    load_weights(model, trained.state_dict())
    own, theirs = (relative_bias(each.rel_pos_bias, (4, 4)) for each in (model, trained))
    assert torch.equal(own, theirs[:, 1:, 1:])
    with pytest.raises(ValueError, match=r"ViTDet: .*set position='shared_relative'"):
        load_weights(vitdet(), trained.state_dict())


def test_what_does_not_fit_is_not_taken_for_a_checkpoint():
    """Tables of zeros alone must not count as weights that fit."""
    with pytest.raises(ValueError, match=r'nothing in .* fits ViTDet'):
        load_weights(vitdet(), {'stages.0.weight': torch.zeros(3)}, allow_missing=('',))


def test_its_own_checkpoint_keeps_its_tables():
    model, other = vitdet(), vitdet(tables=False)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.layers[0].attn.rel_pos_w, model.layers[0].attn.rel_pos_w)
    assert other.layers[0].attn.rel_pos_w.abs().sum() > 0


@pytest.mark.parametrize('position', ['learned', 'shared_relative'])
def test_recomputed_gradients_are_the_same(position):
    images = torch.randn(2, 3, 28, 32)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(1)
        model = vitdet(
            position=position, window_size=3, global_blocks=(1,), drop_path_rate=0.5, with_cp=with_cp
        ).train()
        torch.manual_seed(2)
        model(images)[0].square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        assert all(gradient is not None for gradient in gradients[-1])  # distributed training insists on that
    torch.testing.assert_close(gradients[1], gradients[0])


def test_global_blocks_end_the_quarters_and_tables_are_of_their_block():
    model = ViTDet('tiny', img_size=224, input_size=1024)
    assert model.global_blocks == {2, 5, 8, 11}
    sides = [layer.attn.rel_pos_h.shape[0] for layer in model.layers]
    assert sides == [27, 27, 127] * 4
    assert model.get_layer_depth('backbone.layers.3.attn.rel_pos_h', 'backbone.') == (4, 14)
    assert all(not layer.attn.rel_pos_w.any() for layer in model.layers)


@pytest.mark.parametrize('wrong', [dict(global_blocks=(3,)), dict(window_size=0)])
def test_arguments_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        vitdet(**wrong)
