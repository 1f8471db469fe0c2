"""Networks alone, in the names of the libraries: timm (and what official codes release), transformers, torchvision."""

from ..draft import Draft, Family
from ..files import SavedFile
from ..names import take

_TIMM = ('blocks.0.norm1.weight', 'layers.0.blocks.0.norm1.weight')
_TRANSFORMERS = ('encoder.layer.0.layernorm_before.weight', 'layers.0.layernorm_before.weight')
_TORCHVISION = ('encoder.layers.encoder_layer_0.ln_1.weight', 'layer1.0.conv1.weight')


def _any(file: SavedFile, markers: tuple[str, ...], *prefixes: str) -> bool:
    return any(f'{prefix}{marker}' in file.table for marker in markers for prefix in ('', *prefixes))


def _read(file: SavedFile, network: str | None) -> Draft:
    return Draft(file.table)


def _read_transformers(file: SavedFile, network: str | None) -> Draft:
    state = file.table
    for prefix in ('vit.', 'beit.'):  # a model with a head
        inner = take(state, prefix)
        if inner:
            draft = Draft(inner, prefix)
            draft.left_out.update(dict.fromkeys(state, 'head of another task'))
            return draft
    return Draft(state)


TIMM = Family('timm', lambda file: _any(file, _TIMM), _read)
TRANSFORMERS = Family('huggingface', lambda file: _any(file, _TRANSFORMERS, 'vit.', 'beit.'), _read_transformers)
TORCHVISION = Family('torchvision', lambda file: _any(file, _TORCHVISION), _read)
