"""LVIS: the scenes with a long tail of categories, which were not all looked for in all pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycocotools import mask as coco_mask

if TYPE_CHECKING:
    from .layouts import ObjectRecord, SceneRecord, World

# In how many of the training pictures that show a category it is annotated: 1 of so many. By turns, so that in a world
# of any size all groups are there; LVIS counts training pictures (rare: up to 10, common: up to 100).
_ONE_OF = dict(f=1, c=5, r=25)
_ADDRESS = 'http://images.cocodataset.org'
_NEGATIVES = 2  # categories per picture that are known to be absent
_INCOMPLETE = 3  # every so many pictures has a category of which not all objects are annotated


def write_lvis(world: World, split: str, scenes: Sequence[SceneRecord]) -> None:
    """``annotations/lvis_v1_<split>.json``, in the format of LVIS v1, with the rules of its making.

    Categories are the classes, ids from 1; every third is frequent, common or rare. In training pictures a common one
    is annotated in one of 5 that show it, a rare one in one of 25 (at least in one): its other objects are neither
    annotated nor denied. Validation pictures are annotated with all categories that they show. Each picture lists some
    of those that it does not show (``neg_category_ids``), by turns, and some pictures a category of which an object,
    where there are several, is left out (``not_exhaustive_category_ids``). Where a picture lies is only said by the
    tail of its ``coco_url``. ``image_count`` counts this split.
    """
    frequencies = ['fcr'[label % 3] for label in range(len(world.classes))]
    met: Counter[int] = Counter()
    images, annotations = [], []
    for number, scene in enumerate(scenes, 1):
        objects: dict[int, list[ObjectRecord]] = {}
        for item in scene.objects:
            objects.setdefault(item.label, []).append(item)
        shown = sorted(objects)
        if split == 'train':
            for label in shown:
                if met[label] % _ONE_OF[frequencies[label]]:
                    del objects[label]
                met[label] += 1
        incomplete = [max(objects, key=lambda label: len(objects[label]))] if objects else []
        incomplete = incomplete if number % _INCOMPLETE == 0 else []
        for label in incomplete:
            if len(objects[label]) > 1:
                objects[label].remove(min(objects[label], key=lambda item: coco_mask.area(item.rle)))
        absent = [label for label in range(len(world.classes)) if label not in shown]
        negative = {absent[(number * _NEGATIVES + i) % len(absent)] for i in range(_NEGATIVES)} if absent else set()
        images.append(
            dict(
                id=number,
                coco_url=f'{_ADDRESS}/{scene.file_name}',
                width=world.size,
                height=world.size,
                neg_category_ids=sorted(label + 1 for label in negative),
                not_exhaustive_category_ids=[label + 1 for label in incomplete],
            )
        )
        for label, items in objects.items():
            for item in items:
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=number,
                        category_id=label + 1,
                        bbox=coco_mask.toBbox(item.rle).tolist(),
                        area=int(coco_mask.area(item.rle)),
                        segmentation=item.rle,
                    )
                )
    in_images = Counter(category for _, category in {(each['image_id'], each['category_id']) for each in annotations})
    instances = Counter(each['category_id'] for each in annotations)
    categories = [
        dict(
            id=label + 1,
            name=name,
            frequency=frequencies[label],
            image_count=in_images[label + 1],
            instance_count=instances[label + 1],
            synset=f'{name}.n.01',
            synonyms=[name],
        )
        for label, name in enumerate(world.classes)
    ]
    path = world.root / 'annotations' / f'lvis_v1_{split}.json'
    path.parent.mkdir(exist_ok=True)
    info = dict(description='composed scenes', version='1.0')
    path.write_text(json.dumps(dict(info=info, images=images, annotations=annotations, categories=categories)))
