"""The layouts in which a world is written. The pictures themselves are always an image folder,
``<split>/<class>/<number>.jpg``; a layout adds what a kind of data set has beside its pictures.

To add one, write a function ``(world, split, scenes) -> None`` and enter it in ``LAYOUTS``, its paths in
``OWNED``. It runs once per split, after the pictures are written; ``scenes`` are in the order of their index. Data sets
with pictures of their own (clips, retrieval, ...) are in sets.py.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .lvis import write_lvis
from .semantic_layouts import write_ade20k, write_cityscapes, write_voc


@dataclass(frozen=True)
class World:
    """What layouts need to know of the whole."""

    root: Path
    classes: list[str]
    size: int


@dataclass(frozen=True)
class ObjectRecord:
    """The visible part of one object. ``rle`` is COCO's compressed run-length code."""

    label: int
    rle: dict

    @property
    def mask(self) -> np.ndarray:
        """bool (size, size)"""
        return coco_mask.decode(self.rle).astype(bool)


@dataclass(frozen=True)
class SceneRecord:
    """One written scene. ``file_name`` is relative to the root; object 0 is the main one."""

    index: int
    file_name: str
    objects: tuple[ObjectRecord, ...]

    @property
    def stem(self) -> str:
        """``<class>/<number>``, for files that lie beside the pictures in the same order of folders."""
        return str(Path(self.file_name).relative_to(Path(self.file_name).parts[0]).with_suffix(''))


def encode_mask(mask: np.ndarray) -> dict:
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=code['size'], counts=code['counts'].decode('ascii'))


def write_folder(world: World, split: str, scenes: Sequence[SceneRecord]) -> None:
    """``classes.txt``, one name a line in the order of the labels. It is the sorted order of the folders."""
    (world.root / 'classes.txt').write_text(''.join(f'{name}\n' for name in world.classes))


def write_coco(world: World, split: str, scenes: Sequence[SceneRecord]) -> None:
    """``annotations/instances_<split>.json``; ``file_name`` is relative to the root and category ids start
    at 1, in the order of ``classes.txt``. Masks are the visible parts, without overlap."""
    images, annotations = [], []
    for number, scene in enumerate(scenes, 1):
        images.append(dict(id=number, file_name=scene.file_name, width=world.size, height=world.size))
        for item in scene.objects:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=item.label + 1,
                    bbox=coco_mask.toBbox(item.rle).tolist(),
                    area=int(coco_mask.area(item.rle)),
                    iscrowd=0,
                    segmentation=item.rle,
                )
            )
    categories = [dict(id=i, name=name, supercategory='object') for i, name in enumerate(world.classes, 1)]
    path = world.root / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(exist_ok=True)
    info = dict(description='composed scenes', version='1.0')
    path.write_text(json.dumps(dict(info=info, images=images, annotations=annotations, categories=categories)))


def write_semantic(world: World, split: str, scenes: Sequence[SceneRecord]) -> None:
    """``masks/<split>/<class>/<number>.png``, uint8: 0 is background and c + 1 is class c."""
    for scene in scenes:
        labels = np.zeros((world.size, world.size), np.uint8)
        for item in scene.objects:
            labels[item.mask] = item.label + 1
        path = world.root / 'masks' / split / f'{scene.stem}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode('.png', labels)[1].tobytes())


LAYOUTS: dict[str, Callable[[World, str, Sequence[SceneRecord]], None]] = dict(
    folder=write_folder,
    coco=write_coco,
    lvis=write_lvis,
    semantic=write_semantic,
    ade20k=write_ade20k,
    cityscapes=write_cityscapes,
    voc=write_voc,
)
DEFAULT_LAYOUTS = ('folder', 'coco', 'semantic')
# What a world may own below its root (the folders of sets.py besides); replaced as a whole, nothing else is removed.
OWNED = ('train', 'val', 'classes.txt', 'annotations', 'masks', 'ade20k', 'cityscapes', 'voc')
