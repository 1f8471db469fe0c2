"""mmpretrain's own names, which are ours too: MAE, SimMIM, BEiT, MaskFeat, classifiers, backbones alone."""

from torch import Tensor

from mimselfsup.models.necks.linear_decoder import conv_to_linear

from ..draft import Draft, Family, leave_out
from ..files import SavedFile
from ..names import NameTable, take

# A block of which there is one in each backbone that we read.
MARKERS = ('layers.0.ln1.weight', 'stages.0.blocks.0.norm1.weight')
PREFIX = 'backbone.'
_HEADS = NameTable(
    *(
        (f'decoder.{name}', f'neck.{name}')
        for name in (
            'mask_token',
            'decoder_pos_embed',
            'decoder_embed',
            'decoder_pred',
            'ln1',
            *(f'decoder_blocks.{{}}.{part}' for part in ('ln1', 'ln2', 'attn.qkv', 'attn.proj')),
            *(f'decoder_blocks.{{}}.ffn.layers.{part}' for part in ('0.0', '1')),
        )
    ),
    ('decoder.prediction', 'neck.fc'),  # MaskFeat
    ('decoder.prediction', 'head.cls_head'),  # BEiT
)


def _recognises(file: SavedFile) -> bool:
    return any(f'{prefix}{marker}' in file.table for marker in MARKERS for prefix in ('', PREFIX))


def _read(file: SavedFile, network: str | None) -> Draft:
    state = file.table
    if not any(name.startswith(PREFIX) for name in state):
        return Draft(state)
    draft = Draft(take(state, PREFIX), PREFIX)
    draft.others = heads(state, draft.backbone)
    leave_out(draft, state, 'no part of the backbone or of a decoder that we have')
    return draft


def heads(state: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Tensor]:
    """Takes out of ``state`` what are the weights of one of our decoders."""
    others, rest = _HEADS.to_ours(state)
    if 'neck.decoder.0.weight' in rest:  # SimMIM
        weight, bias = state['neck.decoder.0.weight'], state['neck.decoder.0.bias']
        cells = round((len(weight) / 3) ** 0.5) // backbone['patch_embed.projection.weight'].shape[-1]
        others['decoder.prediction.weight'] = conv_to_linear(weight, cells)
        others['decoder.prediction.bias'] = conv_to_linear(bias, cells)
        rest = [name for name in rest if not name.startswith('neck.decoder.0.')]
    for name in [name for name in state if name not in rest]:
        del state[name]
    return others


FAMILY = Family('mmpretrain', _recognises, _read)
