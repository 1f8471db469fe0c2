"""INRIA Copydays: photographs, and attacks on them that a copy detector should see through."""

from dataclasses import dataclass
from pathlib import Path

from .image_folder import IMAGE_EXTENSIONS

PREFIX = 4  # characters of a file name that an original and its copies share
LAYOUT = 'original/*.jpg, strong/*.jpg, and if wanted jpegqual/<quality>/*.jpg and crops/<percent>/*.jpg'


@dataclass(frozen=True)
class Copydays:
    """``queries``: the files of each block ('strong', 'jpegqual/3', ...); ``source``: for each of them the place of
    its original in ``originals``."""

    originals: list[Path]
    queries: dict[str, list[Path]]
    source: dict[str, list[int]]


def read_copydays(root: str | Path) -> Copydays:
    """Blocks that are there: original, strong, jpegqual/* and crops/* by their numbers.

    A copy belongs to the original with its first four characters. (The authors' code of DINO pairs jpegqual and crops
    by position; in the complete set that is the same.) Raises ValueError without originals or strong, and for a copy
    that has no original.
    """
    root = Path(root).expanduser()
    blocks = ['strong'] + [
        f'{kind}/{folder.name}'
        for kind in ('jpegqual', 'crops')
        for folder in sorted((root / kind).glob('*'), key=lambda path: (len(path.name), path.name))
        if folder.is_dir()
    ]
    originals = _pictures(root, 'original')
    places: dict[str, int] = {}
    for place, path in enumerate(originals):
        other = places.setdefault(path.name[:PREFIX], place)
        if other != place:
            raise ValueError(
                f'{path.parent}: {originals[other].name} and {path.name} begin with the same {PREFIX} characters, by '
                f'which copies find their original'
            )
    queries = {block: _pictures(root, block) for block in blocks}
    source = {}
    for block, paths in queries.items():
        lost = [path for path in paths if path.name[:PREFIX] not in places]
        if lost:
            raise ValueError(f'{lost[0]}: no original begins with {lost[0].name[:PREFIX]!r} ({len(lost)} such copies)')
        source[block] = [places[path.name[:PREFIX]] for path in paths]
    return Copydays(originals, queries, source)


def _pictures(root: Path, block: str) -> list[Path]:
    folder = root / block
    if not folder.is_dir():
        raise ValueError(f'{folder}: no such folder; Copydays is {LAYOUT}, below {root}')
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS)
    if not found:
        raise ValueError(f'{folder}: holds no picture')
    return found
