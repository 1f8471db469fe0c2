"""Pictures with the masks of their objects: VOC 2012, or the label maps of the toy world."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils.data import Dataset

from mimselfsup.registry import DATASETS

from .label_maps import VOID, read_label_map, resize_label_map

MASKS = ('class', 'instance', 'foreground')
LAYOUT = (
    'either val/<class>/* and masks/val/<class>/*.png, or VOC: JPEGImages/*.jpg, SegmentationClass/*.png, '
    'ImageSets/Segmentation/val.txt, if wanted SegmentationObject/*.png'
)


class ImagesWithObjects(Dataset):
    """The pictures of a split as a whole at ``size`` (H, W), each with the masks of its objects.

    Items are dicts of ``inputs``, uint8 (3, H, W) in OpenCV's order of colours, and ``objects``, bool (K, H, W). What
    is 0 (background) or 255 (void) in a label map is no object; a picture may have none.

    Args:
        data_root: VOC 2012, if it has ImageSets/Segmentation, else pictures ``<split>/<class>/<name>.*`` with label
            maps ``masks/<split>/<class>/<name>.png``.
        masks: what is one object: all pixels of a 'class' in a picture, each 'instance' (VOC only, from
            SegmentationObject), or all objects together, the 'foreground'.

    Raises ValueError where label maps are missing.
    """

    def __init__(self, data_root: str | Path, split: str, size: tuple[int, int], masks: str = 'class') -> None:
        if masks not in MASKS:
            raise ValueError(f'masks={masks!r}, must be one of {", ".join(MASKS)}')
        self.root = Path(os.path.abspath(os.path.expanduser(data_root)))  # as ImageFolder writes paths
        self.size, self.masks = size, masks
        if (self.root / 'ImageSets' / 'Segmentation').is_dir():
            self.pairs = _voc(self.root, split, masks)
        else:
            self.pairs = _folders(self.root, split, masks)
        pipeline = [
            dict(type='mimselfsup.LoadImage'),
            dict(type='mmpretrain.Resize', scale=size, backend='pillow', interpolation='bicubic'),
            dict(type='mmpretrain.PackInputs'),
        ]
        with DefaultScope.overwrite_default_scope('mimselfsup'):
            self.pipeline = Compose(pipeline)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture, label_map = self.pairs[index]
        if not label_map.is_file():
            raise ValueError(f'{label_map}: no such label map, but there is {picture}')
        labels = resize_label_map(read_label_map(label_map), self.size)
        if self.masks == 'foreground':
            labels = np.where(labels == VOID, 0, labels > 0)
        numbers = [number for number in np.unique(labels) if number not in (0, VOID)]
        objects = np.array([labels == number for number in numbers], bool).reshape(-1, *self.size)
        packed = self.pipeline(dict(img_path=str(picture), sample_idx=index))
        return dict(inputs=packed['inputs'], objects=torch.from_numpy(objects))


def collate_objects(samples: Sequence[dict[str, Any]]) -> dict[str, Tensor | list[Tensor]]:
    """``inputs`` (B, 3, H, W), and of ``objects`` a list, since pictures differ in how many they have."""
    return dict(
        inputs=torch.stack([sample['inputs'] for sample in samples]), objects=[sample['objects'] for sample in samples]
    )


def _voc(root: Path, split: str, masks: str) -> list[tuple[Path, Path]]:
    listing = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    if not listing.is_file():
        raise ValueError(f'{listing}: no such file; the root must hold {LAYOUT}')
    folder = root / ('SegmentationObject' if masks == 'instance' else 'SegmentationClass')
    names = listing.read_text().split()
    if not names:
        raise ValueError(f'{listing}: names no picture')
    return [(root / 'JPEGImages' / f'{name}.jpg', folder / f'{name}.png') for name in names]


def _folders(root: Path, split: str, masks: str) -> list[tuple[Path, Path]]:
    pictures, label_maps = root / split, root / 'masks' / split
    if not label_maps.is_dir():
        raise ValueError(
            f'{label_maps}: no such folder; attention is scored against label maps, so the root must hold {LAYOUT} '
            f'(tools/make_scenes.py writes the former)'
        )
    if masks == 'instance':
        raise ValueError(f"masks='instance': the label maps in {label_maps} hold classes; only VOC has instances")
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        listing = DATASETS.build(dict(type='mimselfsup.ImageFolder', data_root=str(root), split=split, pipeline=[]))
    paths = [Path(listing.get_data_info(index)['img_path']) for index in range(len(listing))]
    return [(path, (label_maps / path.relative_to(pictures)).with_suffix('.png')) for path in paths]
