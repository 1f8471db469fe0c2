"""Revisited Oxford and Paris (arXiv 1803.11285), and what has their layout."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .plain_pickle import read_plain_pickle

LAYOUT = '<set>/jpg/*.jpg and <set>/gnd_<set>.pkl, such as roxford5k/jpg/ and roxford5k/gnd_roxford5k.pkl'


@dataclass(frozen=True)
class RetrievalSet:
    """``boxes``: per query (left, top, right, bottom), pixels of its picture. ``easy``, ``hard``, ``junk``: per query
    int64 places in ``images``."""

    name: str
    images: list[Path]
    queries: list[Path]
    boxes: list[tuple[float, float, float, float]]
    easy: list[np.ndarray]
    hard: list[np.ndarray]
    junk: list[np.ndarray]


def find_retrieval_sets(root: str | Path, names: Sequence[str] | None = None) -> list[RetrievalSet]:
    """The sets below ``root``, by name; ``root`` may also be the folder of one. ``names`` chooses of them.

    Raises ValueError if there is none or one that was named is missing, and as :func:`read_retrieval_set`.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f'{root}: no such folder; for retrieval it holds {LAYOUT}')
    files = sorted([*root.glob('gnd_*.pkl'), *root.glob('*/gnd_*.pkl')])
    found = {path.stem.removeprefix('gnd_'): path for path in files}
    if not found:
        raise ValueError(f'{root}: holds no ground truth; expected {LAYOUT}')
    missing = [name for name in names or () if name not in found]
    if missing:
        raise ValueError(f'{root}: has no set {missing[0]!r}; there are {", ".join(found)}')
    return [read_retrieval_set(found[name]) for name in names or found]


def read_retrieval_set(ground_truth: str | Path) -> RetrievalSet:
    """The set of ``gnd_<name>.pkl``, its pictures in ``jpg/`` beside that. The pickle is read without executing it.

    Raises ValueError if the file has not what the authors' files have, or pictures are missing.
    """
    path = Path(ground_truth)
    name = path.stem.removeprefix('gnd_')
    content = read_plain_pickle(path)
    try:
        images, queries = ([str(stem) for stem in content[key]] for key in ('imlist', 'qimlist'))
        truths = list(content['gnd'])
        boxes = [tuple(float(side) for side in truth['bbx']) for truth in truths]
        lists = {key: [_places(truth[key]) for truth in truths] for key in ('easy', 'hard', 'junk')}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f'{path}: not the ground truth of a revisited set ({type(error).__name__}: {error}); it is a dict of '
            f'imlist, qimlist and gnd, and each entry of gnd one of bbx, easy, hard and junk'
        ) from error
    if not images or not queries or len(queries) != len(truths) or any(len(box) != 4 for box in boxes):
        raise ValueError(
            f'{path}: {len(images)} images, {len(queries)} queries and {len(truths)} entries of gnd; there must be '
            f'some, an entry per query, and four numbers in each bbx'
        )
    for query in range(len(truths)):
        places = np.concatenate([lists[key][query] for key in lists])
        if len(places) and not 0 <= places.min() <= places.max() < len(images):
            raise ValueError(
                f'{path}: query {query} names images {places.min()} to {places.max()}, there are 0 to {len(images) - 1}'
            )
    folder = path.parent / 'jpg'
    _check_pictures(folder, [*images, *queries])
    return RetrievalSet(
        name,
        [folder / f'{stem}.jpg' for stem in images],
        [folder / f'{stem}.jpg' for stem in queries],
        boxes,
        lists['easy'],
        lists['hard'],
        lists['junk'],
    )


def _places(values: Any) -> np.ndarray:
    array = np.asarray(values).reshape(-1)
    if len(array) and array.dtype.kind not in 'iu':
        raise TypeError(f'places of images are integers, not {array.dtype}')
    return array.astype(np.int64)


def _check_pictures(folder: Path, stems: Iterable[str]) -> None:
    if not folder.is_dir():
        raise ValueError(f'{folder}: no such folder; expected {LAYOUT}')
    there = {entry.name for entry in folder.iterdir()}
    missing = sorted({f'{stem}.jpg' for stem in stems} - there)
    if missing:
        raise ValueError(f'{folder}: {len(missing)} pictures of the ground truth are missing, such as {missing[0]}')
