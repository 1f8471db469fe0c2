"""MaskFeat on images, as PySlowFast saves it."""

import torch

from ..draft import Draft, Family
from ..files import SavedFile
from ..names import NameTable

_HEAD = NameTable(('decoder.prediction', 'pred_head.projections.0'))


def _recognises(file: SavedFile) -> bool:
    return 'model_state' in file.tables and 'blocks.0.norm1.weight' in file.table


def _read(file: SavedFile, network: str | None) -> Draft:
    others, rest = _HEAD.to_ours(file.table)
    state = {name: file.table[name] for name in rest}
    if {'pos_embed_class', 'pos_embed_spatial'} <= state.keys() and 'pos_embed_temporal' not in state:
        state['pos_embed'] = torch.cat([state.pop('pos_embed_class'), state.pop('pos_embed_spatial')], dim=1)
    return Draft(state, others=others)


FAMILY = Family('maskfeat', _recognises, _read)
