"""DAVIS 2017: clips with the objects of every frame, in the layout in which the data set comes."""

from dataclasses import dataclass
from pathlib import Path

FRAMES = 'JPEGImages/480p'
OBJECTS = 'Annotations/480p'
LISTS = 'ImageSets/2017'
LAYOUT = f'{FRAMES}/<video>/*.jpg, {OBJECTS}/<video>/*.png, {LISTS}/val.txt'


@dataclass(frozen=True)
class Clip:
    """``frames`` in the order of time, and to each the label map of its objects: 0 is background."""

    name: str
    frames: tuple[Path, ...]
    objects: tuple[Path, ...]


def read_clips(root: str | Path, split: str = 'val') -> list[Clip]:
    """The clips that ``ImageSets/2017/<split>.txt`` names, in its order. Nothing is decoded.

    Raises ValueError for what is missing; the test splits lack the objects of later frames, and are refused.
    """
    root = Path(root)
    listing = root / LISTS / f'{split}.txt'
    if not listing.is_file():
        raise ValueError(f'{listing}: no such file; {root} must hold {LAYOUT}')
    names = [line.strip() for line in listing.read_text().splitlines() if line.strip()]
    if not names:
        raise ValueError(f'{listing}: names no video')
    return [_read_clip(root, name) for name in names]


def _read_clip(root: Path, name: str) -> Clip:
    folder = root / FRAMES / name
    frames = sorted(folder.glob('*.jpg'))
    if not frames:
        raise ValueError(f'{folder}: no frame (*.jpg) here, but the list names this video; {root} must hold {LAYOUT}')
    objects = [root / OBJECTS / name / f'{frame.stem}.png' for frame in frames]
    missing = [path for path in objects if not path.is_file()]
    if missing:
        raise ValueError(
            f'{missing[0]}: no such file; every frame needs its objects to be scored ({len(missing)} of {len(frames)} '
            f'of this video have none)'
        )
    return Clip(name, tuple(frames), tuple(objects))
