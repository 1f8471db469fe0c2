"""SemanticMIM: mmpretrain's names, with queries apart from keys and values, and a second stack of blocks."""

import re

import torch
from torch import Tensor

from ..draft import Draft, Family, leave_out
from ..files import SavedFile
from ..names import take
from ..vit import settled
from .mmpretrain import PREFIX, heads

_STACK = 'extra_layers.'


def _recognises(file: SavedFile) -> bool:
    return any(name.startswith((f'{PREFIX}{_STACK}', _STACK)) for name in file.table)


def _read(file: SavedFile, network: str | None) -> Draft:
    state = file.table
    backbone = take(state, PREFIX)
    prefix = PREFIX if backbone else ''
    if not backbone:
        backbone, state = state, {}
    stack = {f'layers.{name}': value for name, value in take(backbone, _STACK).items()}
    draft = Draft(_fused(backbone), prefix)
    draft.others = {
        f'decoder.blocks.{name.removeprefix("layers.")}': x for name, x in settled(_fused(stack), {}).items()
    }
    if 'mask_token' in draft.backbone:  # it enters the second stack only
        draft.others['decoder.mask_token'] = draft.backbone.pop('mask_token').reshape(1, 1, -1)
    draft.others |= heads(state, draft.backbone)
    leave_out(draft, state, 'no part of the backbone or of a decoder that we have')
    return draft


def _fused(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``attn.q`` and ``attn.kv`` -> ``attn.qkv``."""
    fused = {}
    for name, value in state.items():
        found = re.fullmatch(r'(layers\.\d+\.attn\.)(q|kv)\.(weight|bias)', name)
        if not found or f'{found[1]}kv.{found[3]}' not in state or f'{found[1]}q.{found[3]}' not in state:
            fused[name] = value
        elif found[2] == 'q':
            fused[f'{found[1]}qkv.{found[3]}'] = torch.cat([value, state[f'{found[1]}kv.{found[3]}']])
    return fused


FAMILY = Family('semanticmim', _recognises, _read)
