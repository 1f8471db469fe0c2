"""Photographs in place of drawings: RGBA cut-outs as objects, pictures as backgrounds."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from .compose import crop_to_alpha

SUFFIXES = frozenset(['.png', '.webp', '.tif', '.tiff', '.jpg', '.jpeg', '.bmp', '.gif'])
MAX_ROTATION = 20.0  # degrees to either side
VAL_SHARE = 5  # every fifth picture of a class is for val, if there are at least as many
MIN_OPAQUE = 0.02  # share of a cut-out's bounding box below which it is not an object
MIN_CLEAR = 0.02  # share of a picture that has to be transparent; without that it is not cut out
MIN_SIDE = 24  # pixels


class CutoutObjects:
    """RGBA pictures below ``root``; the class is the first folder level, at any depth below it.

    Vector files, pictures without transparency and broken ones are left out; ``skipped`` counts them by
    reason. ``classes`` keeps the folders with the most pictures (None: all). A class with five pictures or
    more gives every fifth one (in the order of their paths) to val and the others to train; the two splits
    of a smaller class share its pictures.

    Raises ValueError for a missing folder, fewer than two classes, or a class without a usable picture.
    """

    def __init__(self, root: str | Path, classes: int | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise ValueError(f'cutouts={str(root)!r} is not a folder; it must hold one folder per class')
        self.skipped: Counter[str] = Counter()
        found: dict[str, list[Path]] = {}
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir()):
            files = [path for path in _files(folder) if path.suffix.lower() in SUFFIXES | {'.svg', '.svgz'}]
            if not files:
                continue  # sounds, texts: not a class
            before = Counter(self.skipped)
            found[folder.name] = [path for path in files if self._usable(path)]
            if not found[folder.name]:
                reasons = ', '.join(f'{n} {why}' for why, n in sorted((self.skipped - before).items()))
                raise ValueError(
                    f'cutouts={str(root)!r}: class {folder.name!r} has no readable RGBA picture ({reasons}); '
                    f'remove the folder or add cut-outs as PNG with transparency'
                )
        if len(found) < 2:
            raise ValueError(
                f'cutouts={str(root)!r} has {len(found)} class folders with pictures, at least 2 are needed '
                f'(one folder per class, PNG files with transparency in it)'
            )
        if classes is not None and not 2 <= classes <= len(found):
            raise ValueError(f'classes={classes}, but cutouts={str(root)!r} has {len(found)} of them')
        most = sorted(found, key=lambda name: (-len(found[name]), name))[:classes]
        self.classes = sorted(most)
        self._files = {split: [_of_split(found[name], split) for name in self.classes] for split in ('train', 'val')}
        self.num_files = sum(len(found[name]) for name in self.classes)
        self.description = dict(
            objects=str(self.root.resolve()),
            objects_digest=_digest(self.root, [path for name in self.classes for path in found[name]]),
        )

    def _usable(self, path: Path) -> bool:
        try:
            _read_cutout(path)
        except ValueError as error:
            self.skipped[str(error)] += 1
            return False
        return True

    def files(self, split: str, label: int) -> Sequence[Path]:
        return self._files[split][label]

    def draw(self, split: str, label: int, side: int, rng: np.random.Generator) -> np.ndarray:
        """RGBA uint8: one of the class's pictures, mirrored, rotated and its light changed at random."""
        files = self._files[split][label]
        cutout = _reduced_cutout(files[rng.integers(len(files))], _power_of_two(side))
        if rng.random() < 0.5:
            cutout = cutout[:, ::-1]
        scale = side / max(cutout.shape[:2])
        angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
        light = rng.uniform(0.8, 1.15)
        height, width = (max(round(scale * length), 1) for length in cutout.shape[:2])
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(cutout, (width, height), interpolation=interpolation)
        reach = int(np.ceil(np.hypot(height, width))) + 2
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        turn[:, 2] += (reach - width) / 2, (reach - height) / 2
        turned = cv2.warpAffine(small, turn, (reach, reach), flags=cv2.INTER_LINEAR)
        alpha = turned[..., 3:]
        colour = light * turned[..., :3] / np.maximum(alpha, 1e-3)
        rgba = 255 * np.dstack([colour, alpha]).clip(0, 1)
        return crop_to_alpha(rgba.round().astype(np.uint8))


class PhotoBackgrounds:
    """Random square pieces of the pictures below ``root``, at any depth. With five pictures or more, every
    fifth one is for val. Raises ValueError for a missing folder or one without a readable picture."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise ValueError(f'backgrounds={str(root)!r} is not a folder; it must hold pictures')
        self.skipped: Counter[str] = Counter()
        files = []
        for path in _files(self.root):
            if path.suffix.lower() not in SUFFIXES:
                continue
            try:
                with Image.open(path) as picture:
                    picture.draft('RGB', (64, 64))
                    picture.load()
                files.append(path)
            except Exception:  # Pillow raises many kinds for a broken file
                self.skipped['broken'] += 1
        if not files:
            raise ValueError(
                f'backgrounds={str(root)!r} holds no readable picture ({self.skipped["broken"]} broken ones)'
            )
        self._files = {split: _of_split(files, split) for split in ('train', 'val')}
        self.num_files = len(files)
        self.description = dict(backgrounds=str(self.root.resolve()), backgrounds_digest=_digest(self.root, files))

    def draw(self, split: str, size: int, rng: np.random.Generator) -> np.ndarray:
        """RGB uint8 (size, size, 3): half to all of the shorter side of a picture, mirrored at random."""
        files = self._files[split]
        picture = _reduced_photo(files[rng.integers(len(files))], 2 * size)
        height, width = picture.shape[:2]
        side = max(round(rng.uniform(0.5, 1) * min(height, width)), 1)
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        piece = picture[top : top + side, left : left + side]
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=interpolation)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob('*') if path.is_file())


def _of_split(files: list[Path], split: str) -> list[Path]:
    if len(files) < VAL_SHARE:
        return files
    return [path for i, path in enumerate(files) if (i % VAL_SHARE == VAL_SHARE - 1) == (split == 'val')]


def _digest(root: Path, files: list[Path]) -> str:
    """Changes when a file is added, removed, renamed or gets another size."""
    lines = [f'{path.relative_to(root).as_posix()} {path.stat().st_size}' for path in files]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16]


def _power_of_two(side: int) -> int:
    return 1 << max(side - 1, 1).bit_length()


def _read_cutout(path: Path) -> np.ndarray:
    """RGBA uint8, cut to the object. Raises ValueError with the reason for what is not a cut-out."""
    if path.suffix.lower() in ('.svg', '.svgz'):
        raise ValueError('vector files')
    try:
        with Image.open(path) as picture:
            if 'A' not in picture.getbands() and 'transparency' not in picture.info:
                raise ValueError('without transparency')
            rgba = np.asarray(ImageOps.exif_transpose(picture).convert('RGBA'))
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds for a broken file
        raise ValueError('broken') from error
    solid = rgba[..., 3] >= 128
    if 1 - solid.mean() < MIN_CLEAR:
        raise ValueError('without transparency')
    rgba = crop_to_alpha(rgba)
    if max(rgba.shape[:2]) < MIN_SIDE or (rgba[..., 3] >= 128).mean() < MIN_OPAQUE:
        raise ValueError('too small or too thin')
    return rgba


@lru_cache(maxsize=4096)
def _reduced_cutout(path: Path, side: int) -> np.ndarray:
    """float32 RGBA in [0, 1], colours multiplied by alpha (so that resizing draws in no colour from outside
    the object), its longer side reduced to ``side`` if it is larger."""
    rgba = _read_cutout(path).astype(np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    scale = side / max(rgba.shape[:2])
    if scale >= 1:
        return rgba
    height, width = (max(round(scale * length), 1) for length in rgba.shape[:2])
    return cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=256)
def _reduced_photo(path: Path, side: int) -> np.ndarray:
    """RGB uint8, its shorter side reduced to ``side`` if it is larger."""
    with Image.open(path) as picture:
        picture.draft('RGB', (2 * side, 2 * side))  # a JPEG is decoded at a smaller scale
        rgb = np.asarray(ImageOps.exif_transpose(picture).convert('RGB'))
    scale = side / min(rgb.shape[:2])
    if scale >= 1:
        return rgb
    height, width = (max(round(scale * length), 1) for length in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
