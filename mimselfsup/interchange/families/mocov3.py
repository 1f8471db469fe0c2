"""MoCo v3: a base encoder and its average, with heads."""

from ..draft import Draft, Family, leave_out
from ..files import SavedFile
from ..names import take

_PREFIXES = dict(student='base_encoder.', teacher='momentum_encoder.')
_HEADS = {384: 12}  # its ViT-S has twice the usual heads


def _recognises(file: SavedFile) -> bool:
    return all(any(name.startswith(prefix) for name in file.table) for prefix in _PREFIXES.values())


def _read(file: SavedFile, network: str | None) -> Draft:
    """The base encoder, unless the teacher is asked for: it is the one that the paper evaluates."""
    network = network or 'student'
    state = file.table
    prefix = _PREFIXES[network]
    draft = Draft(take(state, prefix), prefix, network=network)
    for head in ('head.', 'fc.'):
        names = {f'{prefix}{head}{name}': value for name, value in take(draft.backbone, head).items()}
        leave_out(draft, names, 'head of the contrastive loss')
    leave_out(draft, state, 'the other encoder (--part) or the predictor')
    projection = draft.backbone.get('patch_embed.proj.weight')
    if projection is not None and len(projection) in _HEADS:
        draft.facts['num_heads'] = _HEADS[len(projection)]
    return draft


FAMILY = Family('mocov3', _recognises, _read)
