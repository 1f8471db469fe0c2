"""One labelled scene: a main object, smaller ones beside it, and a background."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

SPLITS = ('train', 'val')
MIN_SIZE = 24  # below it, the textures of the drawn world are finer than a pixel

MAIN_SIDE = (0.45, 0.7)  # nominal side of the main object, as a share of the picture's
OTHER_SIDE = (0.3, 0.5)  # of a further object, as a share of the main object's
MAIN_SEEN = 0.85  # share of the main object that the others leave visible, at least
OTHER_SEEN = 0.5
OTHER_AREA = 0.5  # visible area of a further object as a share of the main one's, at most
ATTEMPTS = 40  # for a further object to find a place; it shrinks on the way


class ObjectSource(Protocol):
    classes: list[str]
    description: dict  # what the manifest says about the source; equal descriptions give equal scenes

    def draw(self, split: str, label: int, side: int, rng: np.random.Generator) -> np.ndarray:
        """RGBA uint8 (h, w, 4), cut to the object, which is about ``side`` pixels wide or high."""


class BackgroundSource(Protocol):
    description: dict

    def draw(self, split: str, size: int, rng: np.random.Generator) -> np.ndarray:
        """RGB uint8 (size, size, 3)."""


@dataclass
class Scene:
    """``image`` RGB uint8 (size, size, 3); ``masks`` are disjoint, bool (size, size), one per entry of
    ``labels``. Object 0 is the main one, whose class is that of the scene."""

    image: np.ndarray
    labels: list[int]
    masks: list[np.ndarray] = field(repr=False)


@dataclass(eq=False)
class _Layer:
    label: int
    rgba: np.ndarray
    top: int
    left: int

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.rgba.shape[:2]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def area(self) -> int:
        return int((self.rgba[..., 3] >= 128).sum())


def compose_scene(
    objects: ObjectSource,
    backgrounds: BackgroundSource,
    split: str,
    index: int,
    size: int = 128,
    num_objects: tuple[int, int] = (1, 1),
    seed: int = 0,
) -> Scene:
    """Scene ``index`` of a split: a pure function of its arguments. Its class is ``index`` modulo the number
    of classes, so classes are balanced.

    A further object that finds no place in 40 attempts, where enough of it and of the main object stays
    visible, is left out; with up to five objects that hardly happens.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    label = index % len(objects.classes)
    count = int(rng.integers(num_objects[0], num_objects[1] + 1))
    canvas = backgrounds.draw(split, size, rng).astype(np.float32)

    side = rng.uniform(*MAIN_SIDE) * size
    main = _place(objects, split, label, side, size, rng)
    layers = [main]  # from the back to the front
    for _ in range(count - 1):
        layers = _with_another(layers, main, objects, split, side, size, rng)

    for layer in layers:
        opacity = layer.rgba[..., 3:].astype(np.float32) / 255
        canvas[layer.window] += opacity * (layer.rgba[..., :3] - canvas[layer.window])
    masks = dict(zip(map(id, layers), _visible(layers, size), strict=True))
    layers.sort(key=lambda layer: layer is not main)
    return Scene(
        canvas.round().astype(np.uint8), [layer.label for layer in layers], [masks[id(layer)] for layer in layers]
    )


def _place(objects: ObjectSource, split: str, label: int, side: float, size: int, rng: np.random.Generator) -> _Layer:
    """An object anywhere in the picture, all of it inside."""
    rgba = objects.draw(split, label, max(round(side), 3), rng)[:size, :size]
    height, width = rgba.shape[:2]
    return _Layer(label, rgba, top=int(rng.integers(size - height + 1)), left=int(rng.integers(size - width + 1)))


def _with_another(
    layers: list[_Layer],
    main: _Layer,
    objects: ObjectSource,
    split: str,
    main_side: float,
    size: int,
    rng: np.random.Generator,
) -> list[_Layer]:
    label = int(rng.integers(len(objects.classes)))
    side = rng.uniform(*OTHER_SIDE) * main_side
    for _ in range(ATTEMPTS):
        layer = _place(objects, split, label, side, size, rng)
        depth = int(rng.integers(len(layers) + 1))
        candidate = [*layers[:depth], layer, *layers[depth:]]
        if _acceptable(candidate, main, size):
            return candidate
        side = max(0.97 * side, 0.1 * size)
    return layers


def _acceptable(layers: list[_Layer], main: _Layer, size: int) -> bool:
    seen = [int(mask.sum()) for mask in _visible(layers, size)]
    main_area = next(area for layer, area in zip(layers, seen, strict=True) if layer is main)
    for layer, area in zip(layers, seen, strict=True):
        least = MAIN_SEEN if layer is main else OTHER_SEEN
        if area < max(least * layer.area, 1) or (layer is not main and area > OTHER_AREA * main_area):
            return False
    return True


def _visible(layers: list[_Layer], size: int) -> list[np.ndarray]:
    """Per layer, bool (size, size): what no layer in front of it hides."""
    free = np.ones((size, size), bool)
    masks = []
    for layer in reversed(layers):
        mask = np.zeros((size, size), bool)
        mask[layer.window] = layer.rgba[..., 3] >= 128
        masks.append(mask & free)
        free &= ~mask
    return masks[::-1]


def crop_to_alpha(rgba: np.ndarray) -> np.ndarray:
    """The bounding box of what is at least half opaque; the input itself if nothing is."""
    solid = rgba[..., 3] >= 128
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not len(rows):
        return rgba
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
