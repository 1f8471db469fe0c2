import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mimselfsup.models.backbones import MaskedSwin, MaskedViT, RelativeViT

ARCH = dict(embed_dims=8, num_layers=3, num_heads=2, feedforward_channels=16)


class Model(nn.Module):
    """What classifiers, detectors and segmentors have in common here."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)


def build(model: nn.Module, scope: str = 'mimselfsup', **paramwise) -> torch.optim.Optimizer:
    config = dict(
        optimizer=dict(type='AdamW', lr=2.0, weight_decay=0.5),
        constructor='mimselfsup.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.5) | paramwise,
    )
    with DefaultScope.overwrite_default_scope(scope):
        return build_optim_wrapper(model, config).optimizer


def settings(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """Name -> (learning rate, weight decay)"""
    names = {id(parameter): name for name, parameter in model.named_parameters(remove_duplicate=True)}
    return {
        names[id(each)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for each in group['params']
    }


# The scopes of mmpretrain, mmdet and mmseg have registries of their own.
@pytest.mark.parametrize('scope', ['mimselfsup', 'mmpretrain', 'mmdet', 'mmseg'])
def test_rates_and_decay_of_a_vit(scope):
    model = Model(MaskedViT(ARCH, img_size=16, patch_size=8, hidden='replace'))
    optimizer = build(model, scope)
    found = settings(model, optimizer)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    # 2 * 0.5 ** (3 + 1 - layer); what has one dimension, tokens and positions do not decay.
    table = {
        'backbone.cls_token': (0.125, 0),
        'backbone.pos_embed': (0.125, 0),
        'backbone.mask_token': (0.125, 0),
        'backbone.patch_embed.projection.weight': (0.125, 0.5),
        'backbone.patch_embed.projection.bias': (0.125, 0),
        'backbone.layers.0.attn.qkv.weight': (0.25, 0.5),
        'backbone.layers.0.ln1.weight': (0.25, 0),
        'backbone.layers.1.ffn.layers.1.weight': (0.5, 0.5),
        'backbone.layers.2.attn.proj.weight': (1, 0.5),
        'backbone.layers.2.attn.proj.bias': (1, 0),
        'backbone.ln1.weight': (2, 0),
        'neck.weight': (2, 0),
        'head.weight': (2, 0.5),
        'head.bias': (2, 0),
    }
    assert {name: found[name] for name in table} == table
    assert len(optimizer.param_groups) == 2 * 5  # each of the five rates with and without decay


def test_rates_of_a_swin_are_counted_through_its_stages():
    arch = dict(embed_dims=8, depths=[2, 1], num_heads=[1, 2])
    model = Model(MaskedSwin(arch, img_size=32, window_size=4, use_abs_pos_embed=True, out_indices=(1,)))
    found = settings(model, build(model))
    table = {
        'backbone.mask_token': (0.125, 0),
        'backbone.absolute_pos_embed': (0.125, 0),
        'backbone.patch_embed.projection.weight': (0.125, 0.5),
        'backbone.patch_embed.norm.weight': (0.125, 0),
        'backbone.stages.0.blocks.0.attn.w_msa.qkv.weight': (0.25, 0.5),
        'backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table': (0.25, 0.5),
        'backbone.stages.0.blocks.1.ffn.layers.1.weight': (0.5, 0.5),
        'backbone.stages.0.downsample.reduction.weight': (0.5, 0.5),
        'backbone.stages.0.downsample.norm.weight': (0.5, 0),
        'backbone.stages.1.blocks.0.norm1.weight': (1, 0),
        'backbone.norm1.weight': (2, 0),
        'head.weight': (2, 0.5),
    }
    assert {name: found[name] for name in table} == table
    tables = settings(model, build(model, custom_keys=dict(relative_position_bias_table=dict(decay_mult=0))))
    assert tables['backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table'] == (0.25, 0)


def test_positions_of_a_beit_belong_to_their_block_and_shared_ones_to_the_rest():
    own = Model(RelativeViT(ARCH, img_size=16, patch_size=8))
    found = settings(own, build(own))
    assert found['backbone.layers.1.attn.relative_position_bias_table'] == (0.5, 0.5)
    assert found['backbone.layers.1.attn.q_bias'] == (0.5, 0)
    shared = Model(MaskedViT(ARCH, img_size=16, patch_size=8, position='shared_relative'))
    assert settings(shared, build(shared))['backbone.rel_pos_bias.relative_position_bias_table'] == (2, 0.5)


def test_custom_keys_come_on_top_of_the_layer():
    model = Model(MaskedViT(ARCH, img_size=16, patch_size=8))
    keys = {
        'head': dict(lr_mult=10.0),
        'layers.1.': dict(lr_mult=0.1, decay_mult=2.0),
        'pos_embed': dict(decay_mult=0.5),
    }
    found = settings(model, build(model, custom_keys=keys))
    assert found['head.bias'] == (20, 0.5)
    assert found['backbone.layers.1.ln1.weight'] == pytest.approx((0.05, 1))
    assert found['backbone.pos_embed'] == (0.125, 0.25)
    assert found['backbone.cls_token'] == (0.125, 0)


def test_decay_of_flat_parameters_can_be_asked_for():
    model = Model(MaskedViT(ARCH, img_size=16, patch_size=8))
    found = settings(model, build(model, norm_decay_mult=0.5, bias_decay_mult=1))
    assert found['backbone.ln1.bias'][1] == 0.25 and found['head.bias'][1] == 0.5


def test_frozen_parameters_stay_out_and_shared_ones_count_once():
    model = Model(MaskedViT(ARCH, img_size=16, patch_size=8, position='sincos'))
    model.second_head = model.head
    optimizer = build(model)
    everything = [each for group in optimizer.param_groups for each in group['params']]
    assert len(everything) == len({id(each) for each in everything}) == len(list(model.parameters())) - 1
    assert 'backbone.pos_embed' not in settings(model, optimizer)


def test_errors_say_what_to_change():
    model = Model(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r'Model\.backbone is Linear: use MaskedViT'):
        build(model)
    config = dict(
        optimizer=dict(type='AdamW', lr=1.0),
        constructor='mimselfsup.LayerDecayOptimWrapperConstructor',
        paramwise_cfg={},
    )
    with pytest.raises(ValueError, match=r'optim_wrapper\.optimizer\.weight_decay is not set'):
        build_optim_wrapper(model, config)
