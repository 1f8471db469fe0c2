"""BEiT, pre-trained (one table of relative positions) and fine-tuned (one a block); version 2 too.

SimMIM's fine-tuned ViT has the names of the latter; its pixels are normalised otherwise (``--from timm``).
"""

from ..draft import Draft, Family, leave_out
from ..files import SavedFile
from ..names import take

# The released ones, of ImageNet-22k, were trained on pixels in [-1, 1].
_PIXELS = dict(pixel_mean=(127.5, 127.5, 127.5), pixel_std=(127.5, 127.5, 127.5))


def _recognises(file: SavedFile) -> bool:
    state = file.table
    tables = ('rel_pos_bias.relative_position_bias_table', 'blocks.0.attn.relative_position_bias_table')
    return 'blocks.0.norm1.weight' in state and ('lm_head.weight' in state or any(name in state for name in tables))


def _read(file: SavedFile, network: str | None) -> Draft:
    state = file.table
    head = take(state, 'lm_head.')
    draft = Draft(state, others={f'decoder.prediction.{name}': value for name, value in head.items()}, facts=_PIXELS)
    for prefix in ('cls_pt_layers.', 'cls_pt_'):
        shortcut = {f'{prefix}{name}': value for name, value in take(state, prefix).items()}
        leave_out(draft, shortcut, 'second head of BEiT v2, for its [CLS] token')
    return draft


FAMILY = Family('beit', _recognises, _read)
