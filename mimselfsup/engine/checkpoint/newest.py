"""Which checkpoint of a work dir a run continues from."""

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

from .reading import CheckpointError, read_checkpoint
from .writing import write_atomically

_PathLike = str | os.PathLike
_RESUMABLE = re.compile(r'(epoch|iter)_(\d+)\.pth')
_POINTER = 'last_checkpoint'


def write_last_checkpoint(work_dir: _PathLike, checkpoint: _PathLike) -> None:
    """Notes the newest checkpoint, relative to the work dir if it lies there, so that the folder can move."""
    path = Path(checkpoint)
    if not urlparse(os.fspath(checkpoint)).scheme and path.resolve().is_relative_to(Path(work_dir).resolve()):
        checkpoint = path.resolve().relative_to(Path(work_dir).resolve())
    write_atomically(Path(work_dir) / _POINTER, lambda file: file.write(os.fspath(checkpoint).encode()))


def find_resumable(work_dir: _PathLike, report: Callable[[str], None] = warnings.warn) -> str | None:
    """The complete checkpoint with the most iterations in ``work_dir``, or None.

    Decided by the files that are there, so a moved or copied folder resumes from its own. Torn files are
    passed over; ``report`` gets a line for each. Where the folder holds none (``CheckpointHook.out_dir`` is
    elsewhere), the file that ``last_checkpoint`` names is taken.
    """
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for path in Path(work_dir).glob('*.pth'):
        name = _RESUMABLE.fullmatch(path.name)
        if name:
            numbered.setdefault(name.group(1), []).append((int(name.group(2)), path))
    newest: list[tuple[int, Path]] = []
    for files in numbered.values():  # epoch_* and iter_* count differently: the newest of each are compared
        for _, path in sorted(files, reverse=True):
            iteration = _saved_iteration(path, report)
            if iteration is not None:
                newest.append((iteration, path))
                break
    if newest:
        return str(max(newest)[1])
    pointer = Path(work_dir) / _POINTER
    if pointer.is_file():
        target = Path(work_dir) / pointer.read_text().strip()  # an absolute one replaces the folder
        if target.is_file() and _saved_iteration(target, report) is not None:
            return str(target)
    return None


def _saved_iteration(path: Path, report: Callable[[str], None]) -> int | None:
    try:
        meta = read_checkpoint(path)['meta']
        return int(meta['iter'])
    except (KeyError, TypeError):
        report(f'{path} is no training checkpoint (it does not say at which iteration it was saved): skipped')
    except CheckpointError as error:
        report(f'skipped: {error}')
    return None
