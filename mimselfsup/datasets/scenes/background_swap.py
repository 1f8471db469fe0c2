"""Objects before backgrounds of their own and of other classes, in the layout of ImageNet-9."""

from pathlib import Path

import numpy as np

from .backgrounds import GivenBackground
from .compose import Scene, compose_scene
from .retrieval import write_jpeg
from .source import Source

CLASSES = 9  # at most, as in ImageNet-9
TRAIN, VAL = 40, 12  # pictures of each class
PLACES = 3  # of each class: the backgrounds that it is seen before
ROOM = 1.5  # side of a place, in sides of a picture, which is a piece of it
QUALITY = 95
_STREAM = 103  # keeps these random numbers apart from those of the scenes
_SPLITS = dict(train=0, val=1)


def write_backgrounds(root: Path, source: Source) -> None:
    """``original/train/<class>/`` to learn from, and ``<variation>/val/<class>/`` for the eight variations.

    In the scenes a background says nothing about the class. Here each class has places of its own, which train
    and val share, so that a classifier is tempted to look at them. An object stands at the same place in all
    variations of its picture. Pictures are JPEGs whatever the world's are.

    original: before one of its places. mixed_same: before another one of its class. mixed_rand: of any class.
    mixed_next: of the next class. no_fg: the object black. only_fg: all else black. only_bg_b: the bounding box
    of the object black. only_bg_t: the box filled with what is beside it.
    """
    labels = range(min(CLASSES, len(source.objects.classes)))
    places = [[_place(source, label, number) for number in range(PLACES)] for label in labels]
    for label in labels:
        folder = f'{label:02d}_{source.objects.classes[label]}'
        for split, count in (('train', TRAIN), ('val', VAL)):
            for number in range(count):
                pictures = _variations(source, places, label, split, number)
                if split == 'train':
                    pictures = dict(original=pictures['original'])
                for name, picture in pictures.items():
                    path = root / name / split / folder / f'{number:04d}.jpg'
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_jpeg(path, picture, QUALITY)


def _variations(
    source: Source, places: list[list[np.ndarray]], label: int, split: str, number: int
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([source.seed, _STREAM, 1 + _SPLITS[split], label, number])
    own = number % PLACES
    other = (own + int(rng.integers(1, PLACES))) % PLACES
    anyone = int(rng.integers(len(places)))
    index = label + number * len(source.objects.classes)  # a scene of this class, and no other picture's
    seed = int(np.random.SeedSequence([source.seed, _STREAM]).generate_state(1)[0])

    def before(place: np.ndarray) -> tuple[Scene, np.ndarray]:
        canvas = _piece(place, source.size, rng)
        return compose_scene(source.objects, GivenBackground(canvas), split, index, source.size, seed=seed), canvas

    scene, canvas = before(places[label][own])
    mask = scene.masks[0]
    black = np.zeros_like(canvas)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    boxed = scene.image.copy()
    boxed[box] = 0
    return dict(
        original=scene.image,
        mixed_same=before(places[label][other])[0].image,
        mixed_rand=before(places[anyone][int(rng.integers(PLACES))])[0].image,
        mixed_next=before(places[(label + 1) % len(places)][int(rng.integers(PLACES))])[0].image,
        no_fg=np.where(mask[..., None], 0, scene.image).astype(np.uint8),
        only_fg=compose_scene(source.objects, GivenBackground(black), split, index, source.size, seed=seed).image,
        only_bg_b=boxed,
        only_bg_t=_tiled(scene.image, box),
    )


def _place(source: Source, label: int, number: int) -> np.ndarray:
    rng = np.random.default_rng([source.seed, _STREAM, 0, label, number])
    return source.backgrounds.draw('train', round(ROOM * source.size), rng)


def _piece(place: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(len(place) - size + 1, size=2)
    piece = place[top : top + size, left : left + size]
    return piece[:, ::-1].copy() if rng.random() < 0.5 else piece.copy()


def _tiled(image: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    """The box filled with the largest strip beside it, again and again."""
    rows, columns = box
    height, width = image.shape[:2]
    strips = [image[: rows.start], image[rows.stop :], image[:, : columns.start], image[:, columns.stop :]]
    strip = max(strips, key=lambda each: each.shape[0] * each.shape[1])
    filled = image.copy()
    if strip.size:  # else the box is the whole picture
        times = -(-height // strip.shape[0]), -(-width // strip.shape[1]), 1
        filled[box] = np.tile(strip, times)[box]
    return filled
