"""Which backbone a table of our names is of: a config, from shapes and from the few facts that shapes do not have."""

import math
from collections.abc import Mapping
from typing import Any

from mmpretrain.models.backbones import ResNet
from torch import Tensor

from mimselfsup.engine.checkpoint import CheckpointError
from mimselfsup.models.backbones import MaskedViT

from .vit import count_layers, has_own_tables

SWIN_STRIDE = 32
USUAL_EPS = 1e-6


def vit_config(state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of a state of MaskedViT, or of RelativeViT. Raises CheckpointError where neither shapes nor facts decide."""
    projection = state['patch_embed.projection.weight']
    width, channels, *patch = projection.shape
    layers = count_layers(state)
    extra = state['cls_token'].shape[1] if 'cls_token' in state else 0
    arch = dict(
        embed_dims=width, num_layers=layers, feedforward_channels=state['layers.0.ffn.layers.0.0.weight'].shape[0]
    )
    tables = {name: value for name, value in state.items() if name.endswith('relative_position_bias_table')}
    table = next(iter(tables.values()), None)
    arch['num_heads'] = facts.get('num_heads') or (_usual_heads(arch) if table is None else table.shape[1])
    if width % arch['num_heads'] or (table is not None and table.shape[1] != arch['num_heads']):
        heads = f', the tables of relative positions for {table.shape[1]}' if table is not None else ''
        raise CheckpointError(f'num_heads={arch["num_heads"]} does not fit: the width is {width}{heads}')
    config: dict[str, Any] = dict(
        type='MaskedViT',
        arch=arch,
        img_size=_vit_image(state, table, extra, patch, facts.get('img_size')),
        patch_size=_one_or_both(patch),
        in_channels=channels,
        final_norm='ln1.weight' in state,
        out_type='avg_featmap' if 'ln2.weight' in state else 'cls_token' if extra else 'featmap',
    )
    if facts.get('eps', USUAL_EPS) != USUAL_EPS:
        config['norm_cfg'] = dict(type='LN', eps=facts['eps'])
    if not extra:
        config['with_cls_token'] = False
    scale = 0.1 if any('gamma' in name for name in state) else 0.0
    if has_own_tables(state):
        biased = 'layers.0.attn.q_bias' in state
        config |= dict(
            type='RelativeViT',
            bias='qv_bias' if biased else 'layers.0.attn.qkv.bias' in state,
            layer_scale_init_value=scale,
            use_abs_pos_emb='pos_embed' in state,
        )
        return config
    config['hidden'] = 'replace' if 'mask_token' in state else 'compress' if extra > 1 else 'drop'
    config['position'] = 'learned' if table is None else 'shared_relative'
    if extra > 1:
        config['num_cls_tokens'] = extra
    if 'layers.0.attn.qkv.bias' not in state:
        config['qkv_bias'] = False
    if 'pre_norm.weight' in state:
        config |= dict(pre_norm=True, patch_cfg=dict(bias='patch_embed.projection.bias' in state))
    if scale:
        config['layer_scale_init_value'] = scale
    if 'position_resize' in facts:
        config['position_resize'] = facts['position_resize']
    return config


def _usual_heads(arch: Mapping[str, int]) -> int:
    known = {settings['num_heads'] for settings in MaskedViT.arch_zoo.values() if arch.items() <= settings.items()}
    if len(known) != 1:
        sizes = ', '.join(f'{name}={value}' for name, value in arch.items())
        raise CheckpointError(
            f'the number of attention heads does not show in shapes, and {sizes} is none of the usual models; give '
            f'it (--num-heads, in Python num_heads=)'
        )
    return known.pop()


def _vit_image(
    state: Mapping[str, Tensor], table: Tensor | None, extra: int, patch: list[int], wanted: Any
) -> int | tuple[int, int]:
    """The size of the image, which may be another than that of the state only where positions are resized."""
    positions = state.get('pos_embed')
    if positions is not None:
        patches = positions.shape[1] - extra
    elif table is not None:
        # (2 side - 1)^2 distances, and 3 entries for [CLS]
        patches = ((math.isqrt(table.shape[0] - 3 * bool(extra)) + 1) // 2) ** 2
    else:
        raise CheckpointError('there are neither position embeddings nor tables of relative positions in it')
    side = math.isqrt(patches)
    if wanted is None:
        if side * side != patches:
            raise CheckpointError(
                f'{patches} positions are those of no square image; give its size (--img-size H W, in Python '
                f'img_size=(H, W))'
            )
        return _one_or_both([side * patch[0], side * patch[1]])
    height, width = wanted if isinstance(wanted, list | tuple) else (wanted, wanted)
    grid = height // patch[0], width // patch[1]
    if height % patch[0] or width % patch[1]:
        raise CheckpointError(f'img_size={wanted}: the sides must be multiples of {patch[0]}, the patch size')
    own = grid[0] * grid[1] == patches
    if not own and table is not None:
        raise CheckpointError(
            f'img_size={wanted}: tables of relative positions are not resized here; leave it out, MaskedViT '
            f'takes images of any size'
        )
    if not own and side * side != patches:
        raise CheckpointError(f'img_size={wanted}: {patches} positions are those of no square image')
    return _one_or_both([height, width])


def swin_config(state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of a state of MaskedSwin."""
    width, channels, *patch = state['patch_embed.projection.weight'].shape
    places = [tuple(map(int, name.split('.')[1:4:2])) for name in state if '.w_msa.qkv.weight' in name]
    depths = [sum(stage == number for number, _ in places) for stage in range(1 + max(stage for stage, _ in places))]
    if len(depths) != 4:
        raise CheckpointError(f'a MaskedSwin has 4 stages, this one {len(depths)}')
    tables = [state[f'stages.{stage}.blocks.0.attn.w_msa.relative_position_bias_table'] for stage in range(4)]
    windows = [(math.isqrt(len(table)) + 1) // 2 for table in tables]
    if len(set(windows)) != 1:
        raise CheckpointError(f'a MaskedSwin has windows of one size, this one of {windows} tokens, by stage')
    window = windows[0]
    # Windows of 7 and 14 are for 224 px; otherwise the last stage is taken for one window.
    image = facts.get('img_size') or (224 if window % 7 == 0 else SWIN_STRIDE * window)
    config = dict(
        type='MaskedSwin',
        arch=dict(embed_dims=width, depths=depths, num_heads=[table.shape[1] for table in tables]),
        img_size=image if isinstance(image, int) else tuple(image),
        patch_size=_one_or_both(patch),
        in_channels=channels,
        window_size=window,
    )
    if 'absolute_pos_embed' in state:
        config['use_abs_pos_embed'] = True
    return config


def resnet_config(state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of a state of TokenResNet."""
    blocks = tuple(
        len({name.split('.')[1] for name in state if name.startswith(f'layer{stage}.')}) for stage in range(1, 5)
    )
    bottleneck = 'layer1.0.conv3.weight' in state
    for depth, (block, numbers) in ResNet.arch_settings.items():
        if numbers == blocks and (block.__name__ == 'Bottleneck') == bottleneck:
            return dict(type='TokenResNet', depth=depth)
    raise CheckpointError(f'no ResNet has {blocks} blocks in its stages; known are {tuple(ResNet.arch_settings)}')


def _one_or_both(sides: list[int]) -> int | tuple[int, int]:
    return sides[0] if sides[0] == sides[1] else (sides[0], sides[1])
