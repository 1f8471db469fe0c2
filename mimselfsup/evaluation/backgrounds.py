"""ImageNet-9 (arXiv 2006.09994): does a classifier look at the object or at what is behind it?

The layout is that of the release, ``<variation>/val/<class>/*``; real and toy are read alike.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import Dataset

from .data import build_labelled

# In this order, by name: the release has a folder fg_mask besides, which is no test set.
VARIATIONS = (
    'original',
    'mixed_same',
    'mixed_rand',
    'mixed_next',
    'no_fg',
    'only_fg',
    'only_bg_b',
    'only_bg_t',
)
LAYOUT = '<variation>/val/<class>/*, original/train/<class>/*'


def check_variations(variations: Sequence[str]) -> None:
    for name in variations:
        if name not in VARIATIONS:
            raise ValueError(f'variation {name!r}: must be one of {", ".join(VARIATIONS)}')
    if not variations:
        raise ValueError(f'no variation: name one or more of {", ".join(VARIATIONS)}')


def build_variations(config: Config, root: str | Path, variations: Sequence[str]) -> dict[str, Dataset]:
    """The labelled images of each variation, as a whole at the backbone's size; they all have the same classes.

    The release is 224 px, and at 224 px nothing is resized or cropped.
    """
    check_variations(variations)
    missing = [name for name in variations if not (Path(root) / name / 'val').is_dir()]
    if missing:
        raise ValueError(
            f'{root} has no folder {missing[0]}/val; ImageNet-9 is {{{",".join(VARIATIONS)}}}/val/<class>/* below one '
            f'folder (unpack the release of the Backgrounds Challenge, or write a world with --layouts backgrounds)'
        )
    found: dict[str, Dataset] = {}
    for name in variations:
        metainfo = dict(classes=found[variations[0]].metainfo['classes']) if found else None
        found[name] = build_labelled(whole_pipeline(config), Path(root) / name, split='val', metainfo=metainfo)
    return found


def whole_pipeline(config: Config) -> list[dict]:
    """The picture as a whole at the backbone's size, bicubic; nothing happens to one that has it."""
    size = config.model.backbone.get('img_size', 224)
    size = (size, size) if isinstance(size, int) else tuple(size)
    return [
        dict(type='mimselfsup.LoadImage'),
        dict(type='mmpretrain.Resize', scale=size, backend='pillow', interpolation='bicubic'),
        dict(type='mmpretrain.PackInputs'),
    ]


def read_class_map(path: str | Path, train_classes: int, classes: int) -> Tensor:
    """(train_classes,) int64: to which of the ``classes`` each class of the head belongs, -1 for none.

    The file is that of the release, ``{"0": -1, ..., "999": 3}``: by the place of a class among the sorted wnids.
    """
    try:
        table = {int(key): int(value) for key, value in json.loads(Path(path).read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f'class map {path}: not a JSON object of class numbers ({error})') from error
    if sorted(table) != list(range(train_classes)):
        raise ValueError(
            f'class map {path}: has {len(table)} classes, the head is trained on {train_classes}; they must be '
            f'numbered 0 to {train_classes - 1}'
        )
    mapped = torch.tensor([table[number] for number in range(train_classes)])
    if mapped.min() < -1 or mapped.max() >= classes:
        raise ValueError(
            f'class map {path}: maps to {int(mapped.min())} to {int(mapped.max())}, allowed: -1 to {classes - 1}'
        )
    return mapped


def mapped_accuracy(predicted: Tensor, labels: Tensor, class_map: Tensor | None = None) -> float:
    """In percent, of (n,) each. With a map, a prediction that belongs to no class is an error."""
    if class_map is not None:
        predicted = class_map[predicted]
    return 100 * (predicted == labels).double().mean().item()


def bg_gap(accuracies: Mapping[str, float]) -> float | None:
    """Mixed-Same less Mixed-Rand: what the background of the right class is worth; None if one of them is missing."""
    if not {'mixed_same', 'mixed_rand'} <= set(accuracies):
        return None
    return accuracies['mixed_same'] - accuracies['mixed_rand']
