"""Checkpoints of this project: training runs, and what a conversion wrote."""

from ..draft import Draft, Family, leave_out
from ..files import SavedFile
from ..names import take
from .mmpretrain import PREFIX

_PARTS = ('decoder.', 'projector.')
_PREFIXES = dict(teacher='teacher.backbone.', student='student.backbone.')


def _recognises(file: SavedFile) -> bool:
    state = file.table
    algorithm = any(name.startswith(PREFIX) for name in state) and any(name.startswith(_PARTS) for name in state)
    return algorithm or any(name.startswith(tuple(_PREFIXES.values())) for name in state)


def _read(file: SavedFile, network: str | None) -> Draft:
    state = file.table
    pair = any(name.startswith(tuple(_PREFIXES.values())) for name in state)
    network = (network or 'teacher') if pair else None
    prefix = _PREFIXES[network] if network else PREFIX
    draft = Draft(take(state, prefix), prefix, network=network)
    for part in _PARTS:
        of_network = f'{network}.{part}' if network else part
        draft.others |= {f'{part}{name}': value for name, value in take(state, of_network).items()}
    for other in [other for other in _PREFIXES if other != network]:
        other_names = {f'{other}.{name}': value for name, value in take(state, f'{other}.').items()}
        leave_out(draft, other_names, f'the {other} (--part)')
    leave_out(draft, state, 'no part of backbone, decoder or projector')
    return draft


FAMILY = Family('mimselfsup', _recognises, _read)
