"""SimMIM in pre-training: an encoder, ViT or Swin, and a convolution before a pixel shuffle."""

from mimselfsup.models.necks.linear_decoder import conv_to_linear

from ..draft import Draft, Family, leave_out
from ..files import SavedFile
from ..names import take

_ENCODER = 'encoder.'


def _recognises(file: SavedFile) -> bool:
    return 'decoder.0.weight' in file.table and f'{_ENCODER}patch_embed.proj.weight' in file.table


def _read(file: SavedFile, network: str | None) -> Draft:
    state = file.table
    draft = Draft(take(state, _ENCODER), _ENCODER)
    weight, bias = state.pop('decoder.0.weight', None), state.pop('decoder.0.bias', None)
    if weight is not None and bias is not None:
        side = round((len(weight) / 3) ** 0.5)  # in pixels, of an output token
        cells = side // draft.backbone['patch_embed.proj.weight'].shape[-1]
        draft.others = {
            'decoder.prediction.weight': conv_to_linear(weight, cells),
            'decoder.prediction.bias': conv_to_linear(bias, cells),
        }
    leave_out(draft, state, 'neither encoder nor decoder')
    return draft


FAMILY = Family('simmim', _recognises, _read)
