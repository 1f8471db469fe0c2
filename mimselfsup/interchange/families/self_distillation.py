"""DINO, iBOT and AttMask: a student and a teacher, each with a backbone and a head."""

import torch
from torch import Tensor

from ..draft import Draft, Family, leave_out
from ..files import SavedFile
from ..names import NameTable, take

# The MLP of the head has one layout here and there, norms included.
_HEAD = NameTable(
    ('projector.mlp.{}', 'mlp.{}'),
    ('projector.mlp.{}.running_mean', 'mlp.{}.running_mean'),
    ('projector.mlp.{}.running_var', 'mlp.{}.running_var'),
    ('projector.mlp.{}.num_batches_tracked', 'mlp.{}.num_batches_tracked'),
    ('projector.last_layer.parametrizations.weight.original0', 'last_layer.weight_g'),
    ('projector.last_layer.parametrizations.weight.original1', 'last_layer.weight_v'),
    ('projector.patch_last_layer.parametrizations.weight.original0', 'last_layer2.weight_g'),
    ('projector.patch_last_layer.parametrizations.weight.original1', 'last_layer2.weight_v'),
)


def _has_pair(file: SavedFile) -> bool:
    return 'teacher' in file.tables and 'student' in file.tables


def _masks(file: SavedFile) -> bool:
    """iBOT and its kin: the patches have a loss of their own, and a mask token."""
    return 'ibot_loss' in file.entries or any(name.endswith('masked_embed') for name in file.tables['student'])


def _is_attmask(file: SavedFile) -> bool:
    return _has_pair(file) and _masks(file) and str(file.arguments.get('pred_shape', '')).startswith('attmask')


def _read(file: SavedFile, network: str | None) -> Draft:
    if not _has_pair(file):  # a backbone alone, which its name does not show: the user said so
        return Draft(file.table, facts=dict(position_resize='dino'))
    network = network or 'teacher'
    state = dict(file.tables[network])
    draft = Draft(
        take(state, 'backbone.'), f'{network}: backbone.', facts=dict(position_resize='dino'), network=network
    )
    draft.others = _head(draft, take(state, 'head.'), f'{network}: head.')
    leave_out(draft, {f'{network}: {name}': value for name, value in state.items()}, 'neither backbone nor head')
    other = 'student' if network == 'teacher' else 'teacher'
    leave_out(draft, {f'{other}: {name}': value for name, value in file.tables[other].items()}, f'the {other} (--part)')
    return draft


def _head(draft: Draft, head: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    for part in ('weight_g', 'weight_v'):
        image, patch = head.get(f'last_layer.{part}'), head.get(f'last_layer2.{part}')
        if image is not None and patch is not None and image.shape == patch.shape and torch.equal(image, patch):
            del head[f'last_layer2.{part}']
            draft.left_out[f'{prefix}last_layer2.{part}'] = 'the same as last_layer: images and patches share it'
    others, unknown = _HEAD.to_ours(head)
    draft.left_out.update({f'{prefix}{name}': 'of a head unlike our Projector' for name in unknown})
    return others


ATTMASK = Family('attmask', _is_attmask, _read)
IBOT = Family('ibot', lambda file: _has_pair(file) and _masks(file), _read)
DINO = Family('dino', _has_pair, _read)
