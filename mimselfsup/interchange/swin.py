"""Swin: the names of its authors and of timm, and those of MaskedSwin."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .names import NameTable

_BLOCKS = (
    ('stages.{}.blocks.{}.norm1', 'layers.{}.blocks.{}.norm1'),
    ('stages.{}.blocks.{}.attn.w_msa.qkv', 'layers.{}.blocks.{}.attn.qkv'),
    ('stages.{}.blocks.{}.attn.w_msa.proj', 'layers.{}.blocks.{}.attn.proj'),
    (
        'stages.{}.blocks.{}.attn.w_msa.relative_position_bias_table',
        'layers.{}.blocks.{}.attn.relative_position_bias_table',
    ),
    ('stages.{}.blocks.{}.norm2', 'layers.{}.blocks.{}.norm2'),
    ('stages.{}.blocks.{}.ffn.layers.0.0', 'layers.{}.blocks.{}.mlp.fc1'),
    ('stages.{}.blocks.{}.ffn.layers.1', 'layers.{}.blocks.{}.mlp.fc2'),
    ('stages.{}.downsample.norm', 'layers.{}.downsample.norm'),
    ('stages.{}.downsample.reduction', 'layers.{}.downsample.reduction'),
)
AUTHORS = NameTable(
    ('mask_token', 'mask_token'),
    ('mask_token', 'masked_embed'),  # iBOT
    ('absolute_pos_embed', 'absolute_pos_embed'),
    ('patch_embed.projection', 'patch_embed.proj'),
    ('patch_embed.norm', 'patch_embed.norm'),
    *_BLOCKS,
    ('norm3', 'norm'),
)
OWN = NameTable(*((ours, ours) for ours, _ in AUTHORS.pairs))


def from_authors(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Names of the authors' code, or of timm, -> those of MaskedSwin, and the names that are neither's.

    timm has a merging of patches at the beginning of the stage after it, the others at the end of the one before.
    """
    if 'layers.0.downsample.reduction.weight' not in state:
        state = _downsampling_moved(state, -1)
    ours, unknown = AUTHORS.to_ours(state)
    ours = {name: _merged_as_ours(value) if '.downsample.' in name else value for name, value in ours.items()}
    return ours, unknown


def settled(state: dict[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
    """A mask token of any shape -> MaskedSwin's."""
    if 'mask_token' in state:
        return state | dict(mask_token=state['mask_token'].reshape(1, 1, -1))
    return state


def to_timm(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    left_out = {name: 'an index table, which timm computes' for name in state if name.endswith('_index')}
    left_out |= {name: 'only pre-training has it' for name in state if name == 'mask_token'}
    state = {
        name: _merged_as_theirs(value) if '.downsample.' in name else value
        for name, value in state.items()
        if name not in left_out
    }
    renamed, unknown = AUTHORS.to_theirs(state)
    if unknown:
        raise ValueError(f'no name in timm for {", ".join(unknown)}')
    return _downsampling_moved(renamed, 1), left_out


def _downsampling_moved(state: dict[str, Tensor], by: int) -> dict[str, Tensor]:
    def moved(name: str) -> str:
        return re.sub(
            r'^layers\.(\d+)\.downsample', lambda found: f'layers.{int(found.group(1)) + by}.downsample', name
        )

    return {moved(name): value for name, value in state.items()}


def _merged_as_ours(value: Tensor) -> Tensor:
    """The inputs of a merging, (..., 4 C): theirs are ordered by column, row and channel (fastest), those of
    ``nn.Unfold``, which mmpretrain uses, by channel, row and column."""
    return value.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3).contiguous()


def _merged_as_theirs(value: Tensor) -> Tensor:
    return value.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3).contiguous()
