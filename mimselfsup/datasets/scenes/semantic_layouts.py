"""ADE20K, Cityscapes and PascalVOC: the scenes in the folders, names and numbers of three data sets of segmentation.

Each has its own numbers for the same regions. Nobody says what the rim of an object is: background that touches one is
left out of training and of the score, as void in VOC and Cityscapes, as 0 ("other") in ADE20K. Background is a class in
all three. Beside the pictures lies ``classes.txt``, background first: a line per class, in the order in which a network
predicts them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..label_maps import VOID, encode_label_map

if TYPE_CHECKING:
    from .layouts import SceneRecord, World

MOST_CLASSES = 253  # objects in 8 bits, where ADE20K's 0 and 255 and the background are taken
_ADE20K_FOLDERS = dict(train='training', val='validation')
_VOC_TRAIN = 4  # every so many training scenes are VOC's own, the others those that were labelled later


def write_ade20k(world: World, split: str, scenes: Sequence[SceneRecord]) -> None:
    """``ade20k/{images,annotations}/{training,validation}/ADE_<split>_<number>``: 0 is other, 1 background, c + 2 class
    c. With ``reduce_zero_label``, as ADE20K is read, 255 is ignored, 0 background and c + 1 class c."""
    root, folder = world.root / 'ade20k', _ADE20K_FOLDERS[split]
    for scene in scenes:
        name = f'ADE_{split}_{scene.index:08d}'
        _place(world.root / scene.file_name, root / 'images' / folder / f'{name}.jpg')
        labels = label_map(scene, world.size)
        labels = np.where(labels == VOID, 0, labels + 1).astype(np.uint8)
        _write(root / 'annotations' / folder / f'{name}.png', cv2.imencode('.png', labels)[1].tobytes())
    _write_classes(root, world)


def write_cityscapes(world: World, split: str, scenes: Sequence[SceneRecord]) -> None:
    """``cityscapes/leftImg8bit/<split>/<city>/<city>_<number>_000019_leftImg8bit.png`` and, below ``gtFine``,
    ``..._gtFine_labelTrainIds.png``: 0 is background, c + 1 class c, 255 void. A city is the class of the main object.
    """
    root = world.root / 'cityscapes'
    for scene in scenes:
        city = world.classes[scene.objects[0].label]
        name = f'{city}_{scene.index:06d}_000019'
        _place(world.root / scene.file_name, root / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png')
        labels = cv2.imencode('.png', label_map(scene, world.size))[1].tobytes()
        _write(root / 'gtFine' / split / city / f'{name}_gtFine_labelTrainIds.png', labels)
    _write_classes(root, world)


def write_voc(world: World, split: str, scenes: Sequence[SceneRecord]) -> None:
    """``voc/``: ``JPEGImages``, ``SegmentationClass`` and ``SegmentationObject``, with a palette: 0 is background, 255
    void, c + 1 class c, or i + 1 object i of its picture.

    A quarter of the training scenes is ``train.txt`` in ``ImageSets/Segmentation``. The others are ``aug.txt``: their
    classes are in ``SegmentationClassAug`` only, where those of all scenes are. ``trainaug.txt`` is both.
    """
    root = world.root / 'voc'
    lists: dict[str, list[str]] = dict(train=[], aug=[], trainaug=[]) if split == 'train' else {split: []}
    own = max(1, len(scenes) // _VOC_TRAIN)  # the first ones: classes take turns
    for position, scene in enumerate(scenes):
        name = f'{split}_{scene.index:06d}'
        _place(world.root / scene.file_name, root / 'JPEGImages' / f'{name}.jpg')
        classes = encode_label_map(label_map(scene, world.size))
        _write(root / 'SegmentationClassAug' / f'{name}.png', classes)
        part = 'aug' if split == 'train' and position >= own else split
        if part != 'aug':
            _write(root / 'SegmentationClass' / f'{name}.png', classes)
            objects = encode_label_map(label_map(scene, world.size, range(len(scene.objects))))
            _write(root / 'SegmentationObject' / f'{name}.png', objects)
        lists[part].append(name)
    if split == 'train':
        lists['trainaug'] = lists['train'] + lists['aug']
    for part, names in lists.items():
        _write(root / 'ImageSets' / 'Segmentation' / f'{part}.txt', ''.join(f'{name}\n' for name in names).encode())
    _write_classes(root, world)


def label_map(scene: SceneRecord, size: int, numbers: Sequence[int] | None = None) -> np.ndarray:
    """(size, size) uint8: 0 background, n + 1 an object of number n (``numbers``: their classes if None), 255 the rim,
    background above, below or beside an object."""
    labels = np.zeros((size, size), np.uint8)
    for item, number in zip(scene.objects, numbers or [item.label for item in scene.objects], strict=True):
        labels[item.mask] = number + 1
    plus = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    near = cv2.dilate((labels > 0).astype(np.uint8), plus) > 0
    labels[near & (labels == 0)] = VOID
    return labels


def _place(picture: Path, target: Path) -> None:
    """A hard link: it takes no room, and the data set stays whole wherever it is moved, which a symbolic link would
    not. Encoded anew where the world has pictures of another format."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if picture.suffix != target.suffix:
        target.write_bytes(cv2.imencode(target.suffix, cv2.imread(str(picture)))[1].tobytes())
        return
    try:
        os.link(picture, target)
    except OSError:  # a file system without them
        shutil.copyfile(picture, target)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_classes(root: Path, world: World) -> None:
    _write(root / 'classes.txt', ''.join(f'{name}\n' for name in ('background', *world.classes)).encode())
