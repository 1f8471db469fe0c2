"""Textured shapes: the objects of the drawn world, whose class is a shape together with the texture on it.

Coordinates: an object fills about the square [-1, 1] x [-1, 1], x to the right and y down. Colours, and where a
texture begins (its phase), are random, so that nothing but shape and texture tells the class.
"""

from collections.abc import Callable
from typing import ClassVar

import cv2
import numpy as np

from .compose import crop_to_alpha

Contours = list[np.ndarray]  # (points, 2) each; filled by the even-odd rule, so an inner one is a hole
Texture = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

MAX_ROTATION = 180.0  # degrees to either side: pixels in their places must not tell the class
AREA = 2.2  # of each shape, of the 4 of the square; the longest one then reaches 1.3 in one direction
REACH = 1.6  # no corner of a shape is farther from its centre
COLOUR_CONTRAST = 0.4  # least difference in luminance, of 1, between the two colours of an object


def _arc(radius: float, start: float = 0.0, stop: float = 2 * np.pi, centre: float = 0.0) -> np.ndarray:
    angle = np.linspace(start, stop, 73)
    return np.stack([centre + radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _regular(corners: int, inner: float | None = None) -> np.ndarray:
    """A polygon with a corner on top; with ``inner``, a star whose notches lie at that radius."""
    count = corners if inner is None else 2 * corners
    angle = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radius = np.ones(count)
    if inner is not None:
        radius[1::2] = inner
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 73)
    return np.stack(
        [16 * np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))], axis=1
    )


def _cross() -> np.ndarray:
    a = 0.36
    return np.array(
        [
            (-a, -1),
            (a, -1),
            (a, -a),
            (1, -a),
            (1, a),
            (a, a),
            (a, 1),
            (-a, 1),
            (-a, a),
            (-1, a),
            (-1, -a),
            (-a, -a),
        ]
    )


def _crescent() -> np.ndarray:
    # The right edge of the moon is a circle of radius 0.85 around (0.5, 0); the two meet at the tips.
    radius, centre = 0.85, 0.5
    tip_x = (1 + centre**2 - radius**2) / (2 * centre)
    outer = np.arccos(tip_x)
    inner = np.arctan2(np.sin(outer), tip_x - centre)
    return np.concatenate([_arc(1, outer, 2 * np.pi - outer), _arc(radius, 2 * np.pi - inner, inner, centre)[1:-1]])


def _arrow() -> np.ndarray:
    return np.array([(0, -1), (0.9, 0.05), (0.4, 0.05), (0.4, 1), (-0.4, 1), (-0.4, 0.05), (-0.9, 0.05)])


def _same_area(contours: Contours) -> Contours:
    """Centred and scaled to ``AREA``, as size would tell the class otherwise. The last contours are holes."""
    outer = contours[0]
    area = _area(outer) - sum(map(_area, contours[1:]))
    centre = (outer.min(0) + outer.max(0)) / 2
    return [(contour - centre) * np.sqrt(AREA / area) for contour in contours]


def _area(contour: np.ndarray) -> float:
    x, y = contour.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


SHAPES: dict[str, Contours] = {
    name: _same_area(contours)
    for name, contours in dict(
        disk=[_arc(1)],
        square=[np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)],
        triangle=[_regular(3)],
        star=[_regular(5, inner=0.5)],
        cross=[_cross()],
        ring=[_arc(1), _arc(0.42)],
        heart=[_heart()],
        arrow=[_arrow()],
        crescent=[_crescent()],
        hexagon=[_regular(6)],
    ).items()
}


def _wave(position: np.ndarray, period: float, phase: float = 0.0, share: float = 0.5) -> np.ndarray:
    """A square wave: True on ``share`` of each period."""
    return (position / period + phase) % 1 < share


def _ringed(x, y, rng):
    return _wave(np.hypot(x, y), 0.6, rng.random())


def _striped(x, y, rng):
    return _wave(y, 0.6, rng.random())


def _checkered(x, y, rng):
    return _wave(x, 0.8, rng.random()) ^ _wave(y, 0.8, rng.random())


def _dotted(x, y, rng):
    spacing = 0.55
    x, y = x / spacing + rng.random(), y / spacing + rng.random()
    x = x + 0.5 * (np.floor(y) % 2)  # every other row is moved by half a spacing
    return np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.33


def _zigzag(x, y, rng):
    bend = np.abs((x / 0.8 + rng.random()) % 1 - 0.5)
    return _wave(y + 0.8 * bend, 0.55, rng.random())


def _rayed(x, y, rng):
    return _wave(np.arctan2(y, x) / (2 * np.pi), 1 / 7, rng.random())


def _meshed(x, y, rng):
    return _wave(x + y, 0.6, rng.random(), 0.3) | _wave(x - y, 0.6, rng.random(), 0.3)


def _barred(x, y, rng):
    return _wave(x, 0.38, rng.random())


def _speckled(x, y, rng):
    cells = rng.random((16, 16)) < 0.5
    column, row = (np.floor((c + 2) / 0.25).astype(int).clip(0, 15) for c in (x, y))
    return cells[row, column]


def _quartered(x, y, rng):
    return (x > rng.uniform(-0.25, 0.25)) ^ (y > rng.uniform(-0.25, 0.25)) ^ (rng.random() < 0.5)


# A texture is True where an object shows its second colour. Periods are a share of the object; at 32 px an
# object is 12 to 22 px wide, so the finest (0.38 of a half width) are still two pixels and more.
TEXTURES: dict[str, Texture] = dict(
    ringed=_ringed,
    striped=_striped,
    checkered=_checkered,
    dotted=_dotted,
    zigzag=_zigzag,
    rayed=_rayed,
    meshed=_meshed,
    barred=_barred,
    speckled=_speckled,
    quartered=_quartered,
)


def drawn_classes(count: int) -> dict[str, tuple[str, str]]:
    """Class name -> (texture, shape), sorted by name. The first ten classes share neither a shape nor a
    texture; with more of them the parts repeat, and shape or texture alone no longer tell the class."""
    shapes, textures = list(SHAPES), list(TEXTURES)
    limit = len(shapes) * len(textures)
    if not 2 <= count <= limit:
        raise ValueError(f'classes={count}, the drawn world has 2 to {limit} of them')
    pairs = [(textures[(i + i // len(shapes)) % len(textures)], shapes[i % len(shapes)]) for i in range(count)]
    return {f'{texture}_{shape}': (texture, shape) for texture, shape in sorted(pairs)}


def luminance(colour: np.ndarray) -> float:
    """Of an RGB colour in [0, 255], in [0, 1] (Rec. 601)."""
    return float(colour @ (0.299, 0.587, 0.114)) / 255


def contrasting_colours(rng: np.random.Generator) -> np.ndarray:
    """(2, 3) RGB in [0, 255]; either may be the lighter one."""
    while True:
        pair = rng.uniform(0, 255, (2, 3))
        if abs(luminance(pair[0]) - luminance(pair[1])) >= COLOUR_CONTRAST:
            return pair


class DrawnObjects:
    """The object source of the drawn world. Train and val objects are different draws, not different sets."""

    description: ClassVar[dict[str, str]] = {'objects': 'drawn'}

    def __init__(self, classes: int = 10) -> None:
        self._pairs = list(drawn_classes(classes).values())
        self.classes = list(drawn_classes(classes))

    def draw(self, split: str, label: int, side: int, rng: np.random.Generator) -> np.ndarray:
        """RGBA uint8 (h, w, 4), rotated at random and cut to the object. ``side`` is the side, in pixels,
        of the square [-1, 1] x [-1, 1]."""
        texture, shape = self._pairs[label]
        fine = 3 if side < 160 else 2  # samples per pixel and axis
        canvas = int(np.ceil(REACH * side)) * fine
        angle = np.deg2rad(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
        cos, sin = np.cos(angle), np.sin(angle)
        radius = side * fine / 2

        turn = np.array([(cos, sin), (-sin, cos)])
        points = [(contour @ turn * radius + canvas / 2 - 0.5) * 16 for contour in SHAPES[shape]]
        alpha = np.zeros((canvas, canvas), np.uint8)
        cv2.fillPoly(alpha, [p.round().astype(np.int32) for p in points], 255, shift=4)

        place = (np.arange(canvas, dtype=np.float32) + 0.5 - canvas / 2) / radius
        x = cos * place[None, :] + sin * place[:, None]
        y = -sin * place[None, :] + cos * place[:, None]
        first, second = contrasting_colours(rng).round().astype(np.uint8)
        colours = np.where(TEXTURES[texture](x, y, rng)[..., None], second, first)
        rgba = np.dstack([colours, alpha])
        small = canvas // fine
        return crop_to_alpha(cv2.resize(rgba, (small, small), interpolation=cv2.INTER_AREA))
