"""Pictures and distorted copies of them, in the layout of Copydays."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .backgrounds import GivenBackground
from .compose import compose_scene
from .retrieval import relit, write_jpeg
from .source import Source

ORIGINALS = 60
STRONG = 3  # copies of each
RIVALS = 2  # distractors per original that have its background and other objects on it
STRANGERS = 30  # further distractors
LEARNED = 400  # pictures for the whitening
QUALITIES = (3, 8, 20, 75)  # the real set has nine of these, and of the next
CUT = (20, 40, 60, 80)  # percent of the area that a crop leaves out

QUALITY = 95
_STREAM = 102  # keeps these random numbers apart from those of the scenes


def write_copydays(root: Path, source: Source) -> None:
    """``original/``, ``jpegqual/<quality>/`` (at half the size, where the real ones have a quarter),
    ``crops/<percent>/``, ``strong/``, ``distractors/`` and ``whitening/``, which the real set leaves to others.

    A strong copy was moved, so that its pixels are not where the original's are: cut, turned, or photographed askew in
    front of something else; and its surface was changed: written over, pasted over, blurred, relit or grey. Copies
    have their original's first four digits, as in the real set. Pictures are JPEGs whatever the world's are.
    """
    side = source.size
    for name in ('original', 'strong', 'distractors', 'whitening'):
        (root / name).mkdir()
    for name in (*(f'jpegqual/{quality}' for quality in QUALITIES), *(f'crops/{percent}' for percent in CUT)):
        (root / name).mkdir(parents=True)
    for number in range(ORIGINALS):
        rng = np.random.default_rng([source.seed, _STREAM, number])
        background = source.backgrounds.draw('val', side, rng)
        original = _picture(source, number, side, background)
        stem = 200000 + 100 * number
        write_jpeg(root / 'original' / f'{stem}.jpg', original, QUALITY)
        small = cv2.resize(original, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            write_jpeg(root / 'jpegqual' / str(quality) / f'{stem}.jpg', small, quality)
        for percent in CUT:
            piece = cropped(original, 1 - percent / 100, rng)
            write_jpeg(root / 'crops' / str(percent) / f'{stem}.jpg', piece, QUALITY)
        for copy in range(1, STRONG + 1):
            write_jpeg(root / 'strong' / f'{stem + copy}.jpg', distorted(original, source, rng), QUALITY)
        for rival in range(RIVALS):
            picture = _picture(source, ORIGINALS * (1 + rival) + number + 1, side, background)
            write_jpeg(root / 'distractors' / f'rival_{number:03d}_{rival}.jpg', picture, QUALITY)
    for folder, count, first in (('distractors', STRANGERS, 1000), ('whitening', LEARNED, 2000)):
        for number in range(count):
            rng = np.random.default_rng([source.seed, _STREAM, first + number])
            split = 'train' if folder == 'whitening' else 'val'
            background = source.backgrounds.draw(split, side, rng)
            picture = _picture(source, first + number, side, background, split)
            write_jpeg(root / folder / f'{number:06d}.jpg', picture, QUALITY)


def _picture(source: Source, index: int, side: int, background: np.ndarray, split: str = 'val') -> np.ndarray:
    """RGB uint8, 4:3: the middle of a scene of two to four objects."""
    seed = int(np.random.SeedSequence([source.seed, _STREAM]).generate_state(1)[0])
    image = compose_scene(source.objects, GivenBackground(background), split, index, side, (2, 4), seed).image
    return image[side // 8 : side // 8 + round(0.75 * side)]


def cropped(picture: np.ndarray, kept: float, rng: np.random.Generator) -> np.ndarray:
    """A piece anywhere in it with the share ``kept`` of its area, of the same aspect."""
    height, width = (max(round(length * kept**0.5), 1) for length in picture.shape[:2])
    top, left = (int(rng.integers(full - part + 1)) for full, part in zip(picture.shape, (height, width), strict=False))
    return picture[top : top + height, left : left + width]


def distorted(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    """One of ``MOVED``, then one of ``CHANGED``."""
    for attacks in (MOVED, CHANGED):
        picture = attacks[rng.integers(len(attacks))](picture, source, rng)
    return picture


def _cut(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    return cropped(picture, rng.uniform(0.4, 0.7), rng)


def _turned(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    """By 10 to 30 degrees, enlarged, so that little but the picture is seen."""
    height, width = picture.shape[:2]
    angle = rng.uniform(10, 30) * rng.choice([-1, 1])
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, rng.uniform(1.1, 1.4))
    return cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _photographed(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    """A print of it, seen askew in front of a background of its own."""
    height, width = picture.shape[:2]
    surroundings = cv2.resize(source.backgrounds.draw('val', max(height, width), rng), (width, height))
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    inset = rng.uniform(0.03, 0.25, (4, 2)) * (width, height)
    moved = corners + inset * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    warp = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return cv2.warpPerspective(picture, warp, (width, height), surroundings, borderMode=cv2.BORDER_TRANSPARENT)


def _overwritten(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    """Thick strokes of one colour, as of a marker."""
    picture = np.ascontiguousarray(picture).copy()
    height, width = picture.shape[:2]
    colour = [int(value) for value in rng.integers(0, 256, 3)]
    points = (rng.random((int(rng.integers(4, 8)), 2)) * (width, height)).astype(np.int32)
    cv2.polylines(picture, [points], False, colour, thickness=max(height // 14, 1))
    return picture


def _pasted_over(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    """An object of another picture stuck on it."""
    height, width = picture.shape[:2]
    side = max(round(rng.uniform(0.35, 0.5) * height), 3)
    rgba = source.objects.draw('val', int(rng.integers(len(source.objects.classes))), side, rng)[:height, :width]
    top, left = int(rng.integers(height - len(rgba) + 1)), int(rng.integers(width - rgba.shape[1] + 1))
    canvas = picture.astype(np.float32)
    window = canvas[top : top + rgba.shape[0], left : left + rgba.shape[1]]
    window += rgba[..., 3:] / np.float32(255) * (rgba[..., :3] - window)
    return canvas.round().astype(np.uint8)


def _blurred(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.012, 0.03) * len(picture))


def _relit(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    return relit(picture.astype(np.float32), 1.0, rng)


def _grey(picture: np.ndarray, source: Source, rng: np.random.Generator) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


Attack = Callable[[np.ndarray, Source, np.random.Generator], np.ndarray]

MOVED: tuple[Attack, ...] = (_cut, _turned, _photographed)
CHANGED: tuple[Attack, ...] = (_overwritten, _pasted_over, _blurred, _relit, _grey)
