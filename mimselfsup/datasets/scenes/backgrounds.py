"""Procedural backgrounds: smooth noise, gradients, blotches and soft stripes in random colours.

They know nothing of the class, and are smoother than the objects.
"""

from collections.abc import Callable
from typing import ClassVar

import cv2
import numpy as np

CONTRAST = 0.25  # of what the first colour is mixed with; quieter than the objects, whose texture is to be found


def _smooth_noise(size: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) in about [0, 1]; ``cells`` random values per side, interpolated."""
    grid = rng.random((cells + 3, cells + 3)).astype(np.float32)
    scale = size / cells
    field = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    start = int(1.5 * scale)  # away from the border, where the interpolation is flat
    return field[start : start + size, start : start + size]


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    cells = int(rng.integers(2, 5))
    return 0.7 * _smooth_noise(size, cells, rng) + 0.3 * _smooth_noise(size, 2 * cells, rng)


def _along(size: int, rng: np.random.Generator) -> np.ndarray:
    """Position along a random direction, in [-1, 1] or a little more at the corners."""
    angle = rng.uniform(0, 2 * np.pi)
    place = np.linspace(-1, 1, size, dtype=np.float32)
    return np.cos(angle) * place[None, :] + np.sin(angle) * place[:, None]


def _gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    return 0.5 + 0.45 * _along(size, rng) + 0.2 * (_smooth_noise(size, 3, rng) - 0.5)


def _blotches(size: int, rng: np.random.Generator) -> np.ndarray:
    field = _smooth_noise(size, int(rng.integers(3, 6)), rng) - 0.5
    return 1 / (1 + np.exp(-rng.uniform(6, 14) * field))


def _soft_stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    bend = rng.uniform(0, 1.5) * _smooth_noise(size, 2, rng)
    turns = rng.uniform(1.5, 3.5)  # half as many waves across the picture
    return 0.5 + 0.5 * np.sin(np.pi * turns * _along(size, rng) + 2 * np.pi * rng.random() + bend)


KINDS: list[Callable[[int, np.random.Generator], np.ndarray]] = [_noise, _gradient, _blotches, _soft_stripes]


class DrawnBackgrounds:
    """The background source of the drawn world."""

    description: ClassVar[dict[str, str]] = {'backgrounds': 'drawn'}

    def draw(self, split: str, size: int, rng: np.random.Generator) -> np.ndarray:
        """RGB uint8 (size, size, 3): two fields, of kinds chosen at random, mix three random colours."""
        first, second = (KINDS[rng.integers(len(KINDS))](size, rng)[..., None].clip(0, 1) for _ in range(2))
        colours = rng.uniform(0, 255, (3, 3)).astype(np.float32)
        colours[1:] = colours[0] + CONTRAST * (colours[1:] - colours[0])
        mixed = colours[0] + first * (colours[1] - colours[0])
        mixed += 0.5 * second * (colours[2] - mixed)
        return mixed.round().clip(0, 255).astype(np.uint8)


class GivenBackground:
    """A background that is there already. It draws no number, so an object comes out the same before any."""

    description: ClassVar[dict[str, str]] = {'backgrounds': 'given'}

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def draw(self, split: str, size: int, rng: np.random.Generator) -> np.ndarray:
        return self.picture
