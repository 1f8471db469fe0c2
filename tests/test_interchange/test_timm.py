"""Networks of timm, converted, and back."""

import pytest
import torch
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from mimselfsup.interchange import convert, export, save
from mimselfsup.registry import MODELS

from .foreign import (
    HEADS,
    SIDE,
    assert_same,
    beit,
    images,
    our_tokens,
    randomised,
    swin,
    tokens_of,
    vit,
    with_norms_merged_at_the_end,
    without_head,
)


def saved(network, folder, name='foreign.pth', **entries):
    torch.save(dict(model=network.state_dict(), **entries) if entries else network.state_dict(), folder / name)
    return folder / name


VITS = dict(
    plain={},
    scaled=dict(init_values=0.1),
    without_bias=dict(qkv_bias=False),
    without_positions_of_cls=dict(no_embed_class=True),
    pre_norm=dict(pre_norm=True),
    without_cls=dict(class_token=False, global_pool='avg', fc_norm=False),
    narrow_mlp=dict(mlp_ratio=1.5),
)


@pytest.mark.parametrize('kind', VITS)
def test_vit_gives_the_features_of_timm(tmp_path, kind):
    network = vit(**VITS[kind])
    found = convert(saved(network, tmp_path), num_heads=HEADS)
    assert (found.family, found.config['type']) == ('timm', 'MaskedViT')
    assert_same(our_tokens(found.backbone, images()), tokens_of(network, images()))
    assert found.left_out == {'head.weight': 'head of another task', 'head.bias': 'head of another task'}


def test_norm_after_pooling_is_kept(tmp_path):
    network = vit(global_pool='avg')
    found = convert(saved(network, tmp_path), num_heads=HEADS)
    assert found.config['out_type'] == 'avg_featmap' and not found.config['final_norm']
    with torch.no_grad():
        pooled = network.forward_head(network.forward_features(images()), pre_logits=True)
        torch.testing.assert_close(found.backbone(images())[0], pooled, rtol=0, atol=1e-5)


BEITS = dict(
    shared=dict(use_shared_rel_pos_bias=True),
    own=dict(use_rel_pos_bias=True),
    own_unscaled=dict(use_rel_pos_bias=True, init_values=None),
    own_pooled=dict(use_rel_pos_bias=True, global_pool='avg'),
    own_and_absolute=dict(use_rel_pos_bias=True, use_abs_pos_emb=True),
    shared_unbiased=dict(use_shared_rel_pos_bias=True, qkv_bias=False),
    own_unbiased=dict(use_rel_pos_bias=True, qkv_bias=False),
)


@pytest.mark.parametrize('kind', BEITS)
def test_beit_gives_the_features_of_timm_with_shared_and_with_own_tables(tmp_path, kind):
    network = beit(**BEITS[kind])
    found = convert(saved(network, tmp_path))  # the tables say how many heads there are
    assert found.family == 'beit'
    assert found.config['type'] == ('MaskedViT' if kind.startswith('shared') else 'RelativeViT')
    assert_same(our_tokens(found.backbone, images()), tokens_of(network, images()))
    if kind == 'own_pooled':
        with torch.no_grad():
            pooled = network.forward_head(network.forward_features(images()), pre_logits=True)
            torch.testing.assert_close(found.backbone(images())[0], pooled, rtol=0, atol=1e-5)


def test_beit_of_another_table_in_each_block_is_not_confused(tmp_path):
    """Each block has the table of its own number."""
    network = beit(use_rel_pos_bias=True)
    backbone = convert(saved(network, tmp_path)).backbone
    for ours, theirs in zip(backbone.layers, network.blocks, strict=True):
        assert torch.equal(ours.attn.relative_position_bias_table, theirs.attn.relative_position_bias_table)


@pytest.mark.parametrize('layout', ['timm', 'authors'])
def test_swin_gives_the_features_of_timm(tmp_path, layout):
    network = swin()
    state = network.state_dict()
    if layout == 'authors':
        state = with_norms_merged_at_the_end(state)
        state |= {
            'layers.0.blocks.1.attn_mask': torch.zeros(4, 16, 16),
            'layers.0.blocks.0.attn.relative_position_index': torch.zeros(16, 16),
        }
    torch.save(dict(model=state), tmp_path / 'swin.pth')
    found = convert(tmp_path / 'swin.pth', img_size=64)
    assert found.config['window_size'] == 4 and found.config['arch']['num_heads'] == [2, 2, 3, 4]
    assert_same(our_tokens(found.backbone, images(64)), tokens_of(network, images(64)))


def ours(**settings):
    arch = dict(embed_dims=48, num_layers=2, num_heads=HEADS, feedforward_channels=96)
    return dict(type='MaskedViT', arch=arch, img_size=SIDE, patch_size=8) | settings


TINY_SWIN = dict(
    type='MaskedSwin',
    arch=dict(embed_dims=12, depths=[2, 1, 1, 1], num_heads=[2, 2, 3, 4]),
    img_size=64,
    patch_size=2,
    window_size=4,
)
ROUND_TRIPS = dict(
    plain=ours(),
    scaled=ours(layer_scale_init_value=0.1),
    replace=ours(hidden='replace'),
    pooled=ours(final_norm=False, out_type='avg_featmap'),
    swin=TINY_SWIN,
    own_tables=dict(ours(), type='RelativeViT', final_norm=True, out_type='raw'),
)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kind', ROUND_TRIPS)
def test_a_round_trip_through_timm_is_bit_equal(tmp_path, kind, suffix):
    backbone = randomised(MODELS.build(ROUND_TRIPS[kind]))
    side = ROUND_TRIPS[kind]['img_size']
    torch.save(dict(state_dict=backbone.state_dict()), tmp_path / 'ours.pth')
    first = convert(tmp_path / 'ours.pth', num_heads=None if kind == 'swin' else HEADS, img_size=side)
    made = save(first, tmp_path / f'timm{suffix}', 'timm')
    there = build_as_told(made.use)
    assert there.load_state_dict(made.tensors, strict=False) == ([], [])
    pictures = images(side)
    assert_same(tokens_of(there, pictures), our_tokens(backbone, pictures))

    num_heads = HEADS if kind != 'swin' and suffix == '.pth' else None  # safetensors has a note of them
    again = convert(tmp_path / f'timm{suffix}', num_heads=num_heads)
    returned = again.backbone.state_dict()
    for name, value in backbone.state_dict().items():
        if name != 'mask_token':  # for which timm has no place, and which is said to be left out
            assert torch.equal(returned[name], value), name
    assert 'mask_token' in made.left_out or kind not in ('replace', 'swin')
    assert returned.keys() <= backbone.state_dict().keys()


def build_as_told(call):
    """The network that the report says the tensors are for."""
    kinds = {kind.__name__: kind for kind in (VisionTransformer, Beit, SwinTransformer)}
    return eval(call.rpartition('.models.')[2].split('.', 1)[1], kinds).eval()


def test_shared_table_goes_to_timms_beit_without_the_key_bias(tmp_path):
    backbone = randomised(MODELS.build(ours(position='shared_relative')))
    torch.save(dict(state_dict=backbone.state_dict()), tmp_path / 'ours.pth')
    made = export(convert(tmp_path / 'ours.pth'), 'timm')
    there = build_as_told(made.use)
    assert there.load_state_dict(made.tensors, strict=False) == ([], [])
    assert_same(tokens_of(there, images()), our_tokens(backbone, images()))
    assert [name for name in made.left_out if 'keys' in name] == [f'layers.{i}.attn.qkv.bias[keys]' for i in (0, 1)]


def test_several_cls_tokens_have_no_place_in_timm(tmp_path):
    backbone = randomised(MODELS.build(ours(num_cls_tokens=4, hidden='compress')))
    torch.save(dict(state_dict=backbone.state_dict()), tmp_path / 'ours.pth')
    found = convert(tmp_path / 'ours.pth', num_heads=HEADS)
    assert found.config['num_cls_tokens'] == 4
    torch.testing.assert_close(our_tokens(found.backbone, images()), our_tokens(backbone, images()))
    with pytest.raises(ValueError, match=r'one \[CLS\] token, this backbone 4'):
        export(found, 'timm')


def test_head_of_timm_is_all_that_is_missing_there(tmp_path):
    network = vit()
    made = export(convert(saved(network, tmp_path), num_heads=HEADS), 'timm')
    expected = without_head(network.state_dict())
    assert made.tensors.keys() == expected.keys()
    assert all(torch.equal(made.tensors[name], value) for name, value in expected.items())
