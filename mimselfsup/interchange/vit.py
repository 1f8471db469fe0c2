"""Vision transformers: the names of timm, which most official codes share, and those of our two classes."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .names import NameTable


def block_names(ours: str, theirs: str) -> tuple[tuple[str, str], ...]:
    """Pairs for a stack of plain blocks, ``layers`` here and ``blocks`` there, or a decoder's."""
    return (
        (f'{ours}.{{}}.ln1', f'{theirs}.{{}}.norm1'),
        (f'{ours}.{{}}.attn.qkv', f'{theirs}.{{}}.attn.qkv'),
        (f'{ours}.{{}}.attn.proj', f'{theirs}.{{}}.attn.proj'),
        (f'{ours}.{{}}.ln2', f'{theirs}.{{}}.norm2'),
        (f'{ours}.{{}}.ffn.layers.0.0', f'{theirs}.{{}}.mlp.fc1'),
        (f'{ours}.{{}}.ffn.layers.1', f'{theirs}.{{}}.mlp.fc2'),
    )


# What stands in blocks besides: of BEiT as mmpretrain's BEiTViT has it, and layer scale as MaskedViT has it.
_SCALES = (('attn.gamma1.weight', 'gamma_1'), ('ffn.gamma2.weight', 'gamma_2'))
_BESIDES = tuple(
    (f'layers.{{}}.{name}', f'blocks.{{}}.{name}')
    for name in ('gamma_1', 'gamma_2', 'attn.q_bias', 'attn.k_bias', 'attn.v_bias', 'attn.relative_position_bias_table')
)
TIMM = NameTable(
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
    ('mask_token', 'mask_token'),
    ('mask_token', 'masked_embed'),  # iBOT
    ('patch_embed.projection', 'patch_embed.proj'),
    ('pre_norm', 'norm_pre'),
    *block_names('layers', 'blocks'),
    ('layers.{}.attn.gamma1.weight', 'blocks.{}.ls1.gamma'),
    ('layers.{}.ffn.gamma2.weight', 'blocks.{}.ls2.gamma'),
    *_BESIDES,
    ('rel_pos_bias.relative_position_bias_table', 'rel_pos_bias.relative_position_bias_table'),
    ('ln1', 'norm'),
    ('ln2', 'fc_norm'),
)
OWN = NameTable(*((ours, ours) for ours, _ in TIMM.pairs))


def settled(state: dict[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names of mmpretrain's transformers, of any mixture -> those of MaskedViT, or RelativeViT.

    The latter where every block has a table of relative positions. For MaskedViT, biases of queries and values become
    one of queries, keys and values, with zeros for the keys: a key bias adds the same to all logits of a query.
    ``facts`` may have the size of the image.
    """
    if has_own_tables(state):
        state = with_scales_as_beit(state)
    else:
        state = {_renamed(name, {beit: own for own, beit in _SCALES}): value for name, value in state.items()}
        for layer in range(count_layers(state)):
            attn = f'layers.{layer}.attn'
            if f'{attn}.q_bias' in state:
                query, value = state.pop(f'{attn}.q_bias'), state.pop(f'{attn}.v_bias')
                key = state.pop(f'{attn}.k_bias', torch.zeros_like(query))
                state[f'{attn}.qkv.bias'] = torch.cat([query, key, value])
    if 'mask_token' in state:
        state['mask_token'] = state['mask_token'].reshape(1, 1, -1)
    extra = state['cls_token'].shape[1] if 'cls_token' in state else 0
    positions = state.get('pos_embed')
    if positions is not None and extra:
        rows = positions.shape[1]
        oblong = _patches(state, facts.get('img_size')) == rows - extra
        # timm's no_embed_class: none for [CLS].
        if _is_square(rows) and not _is_square(rows - extra) and not oblong:
            state['pos_embed'] = torch.cat([positions.new_zeros(1, extra, positions.shape[2]), positions], dim=1)
    return state


def has_own_tables(state: Mapping[str, Tensor]) -> bool:
    """Whether every block has relative positions of its own (BEiT and SimMIM's ViT after fine-tuning)."""
    return 'layers.0.attn.relative_position_bias_table' in state


def to_timm(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """MaskedViT's or RelativeViT's state -> timm's ``VisionTransformer`` or ``Beit``, and what has no place there."""
    state, left_out = dict(state), {}
    for name in list(state):
        if name.endswith('relative_position_index'):
            del state[name]
            left_out[name] = 'an index table, which timm computes'
    if 'mask_token' in state:
        del state['mask_token']
        left_out['mask_token'] = 'only pre-training has it'
    if has_own_tables(state) or 'rel_pos_bias.relative_position_bias_table' in state:
        state = with_scales_as_beit(state)
        for layer in range(count_layers(state)):
            attn = f'layers.{layer}.attn'
            if f'{attn}.qkv.bias' in state:
                query, key, value = state.pop(f'{attn}.qkv.bias').chunk(3)
                state[f'{attn}.q_bias'], state[f'{attn}.v_bias'] = query.clone(), value.clone()
                if key.any():
                    left_out[f'{attn}.qkv.bias[keys]'] = 'it cancels in the softmax, and BEiT has none'
    renamed, unknown = TIMM.to_theirs(state)
    if unknown:
        raise ValueError(f'no name in timm for {", ".join(unknown)}')
    return renamed, left_out


def with_scales_as_beit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layer scale under BEiT's names."""
    return {_renamed(name, dict(_SCALES)): value for name, value in state.items()}


def _renamed(name: str, endings: Mapping[str, str]) -> str:
    """'layers.3.' and an ending -> the same with another one."""
    *start, end = name.split('.', 2)
    return '.'.join([*start, endings.get(end, end)]) if start[:1] == ['layers'] else name


def count_layers(state: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split('.')[1]) for name in state if name.startswith('layers.'))


def _patches(state: Mapping[str, Tensor], image: int | tuple[int, int] | None) -> int | None:
    if image is None:
        return None
    height, width = image if isinstance(image, list | tuple) else (image, image)
    side = state['patch_embed.projection.weight'].shape[2:]
    return (height // side[0]) * (width // side[1])


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number
