"""MAE, with its decoder. (The released encoders alone have the names of timm.)"""

from ..draft import Draft, Family
from ..files import SavedFile
from ..names import NameTable
from ..vit import block_names

DECODER = NameTable(
    ('decoder.mask_token', 'mask_token'),
    ('decoder.decoder_pos_embed', 'decoder_pos_embed'),
    ('decoder.decoder_embed', 'decoder_embed'),
    *block_names('decoder.decoder_blocks', 'decoder_blocks'),
    ('decoder.ln1', 'decoder_norm'),
    ('decoder.decoder_pred', 'decoder_pred'),
)


def _recognises(file: SavedFile) -> bool:
    return 'decoder_embed.weight' in file.table and 'cls_token' in file.table


def _read(file: SavedFile, network: str | None) -> Draft:
    others, rest = DECODER.to_ours(file.table)
    return Draft({name: file.table[name] for name in rest}, others=others)


FAMILY = Family('mae', _recognises, _read)
