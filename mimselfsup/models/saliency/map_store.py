"""One map per training image in one file, written so that a kill at any instant leaves only whole files."""

import errno
import gzip
import hashlib
import json
import mmap
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

DTYPE = np.float16
_MAP_FILE = re.compile(r'epoch_(\d+)(-[0-9a-f]+)?\.npy')


def fingerprint(paths: Iterable[str]) -> str:
    """Hash of which image stands at which index. Paths are taken one by one, so memory stays constant."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.encode('utf-8', 'surrogateescape') + b'\n')
    return digest.hexdigest()


@dataclass(frozen=True)
class MapsInfo:
    """What stands beside a file of maps and decides whether it may be read.

    ``fingerprint``: of the listing of the data set, see :func:`fingerprint`. ``settings``: whatever else the
    values depend on.
    """

    epoch: int
    images: int
    map_size: tuple[int, int]
    fingerprint: str
    settings: dict


class MapStore:
    """The files ``epoch_0040.npy`` (n, h, w) float16 of a folder, each with a description ``epoch_0040.json``.

    A file appears under its name only when it is complete and on the disk. While it is written it is called
    ``epoch_0040.npy.tmp``, and several processes may each write their rows into it; the folder has to be
    one that all of them see. The listing of the images is kept as well, to tell what changed when the data did.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, epoch: int, info: MapsInfo | None = None) -> Path:
        """Of the maps of ``epoch``; with ``info``, of those adapted to the data set that it describes."""
        suffix = '' if info is None else f'-{info.fingerprint[:12]}'
        return self.folder / f'epoch_{epoch:04d}{suffix}.npy'

    # ------------------------------------------------------------------------------------------ writing

    def begin(self, path: Path, info: MapsInfo) -> None:
        """Creates the file that :meth:`write` fills; one process calls it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = (info.images, *info.map_size)
        # The full size is claimed in advance: a disk that is too small is an error now, not a bus error later.
        array = np.lib.format.open_memmap(_temporary(path), mode='w+', dtype=DTYPE, shape=shape)
        size = array.offset + array.nbytes
        del array
        with open(_temporary(path), 'r+b') as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except (AttributeError, OSError) as error:
                if getattr(error, 'errno', None) == errno.ENOSPC:  # others: the file system cannot do it
                    raise ValueError(
                        f'{path.parent}: no room for {size / 2**20:.0f} MiB, one map of {info.map_size} for each '
                        f'of {info.images} images'
                    ) from error

    def open_for_writing(self, path: Path) -> 'MapWriter':
        """For any of the processes, once :meth:`begin` has returned."""
        if not _temporary(path).is_file():
            raise ValueError(
                f'{_temporary(path)} does not exist for this process: the work dir must be a folder that all '
                f'processes, on all machines, share'
            )
        return MapWriter(_temporary(path))

    def commit(self, path: Path, info: MapsInfo, paths: Iterable[str]) -> None:
        """Gives the file its name, once all writers are closed; one process calls it."""
        listing = self._listing(info.fingerprint)
        if not listing.is_file():
            temporary = _temporary(listing)
            with gzip.open(temporary, 'wt', encoding='utf-8', errors='surrogateescape', newline='\n') as file:
                file.writelines(f'{name}\n' for name in paths)
            _replace(temporary, listing)
        _replace(_temporary(path), path)
        description = path.with_suffix('.json')
        _temporary(description).write_text(json.dumps(asdict(info), indent=1))
        _replace(_temporary(description), description)

    # ------------------------------------------------------------------------------------------ reading

    def is_complete(self, path: Path) -> bool:
        return path.is_file() and path.with_suffix('.json').is_file()

    def read_info(self, path: Path) -> MapsInfo:
        """Raises ValueError if there are no complete maps at ``path``."""
        if not self.is_complete(path):
            there = ', '.join(sorted(each.name for each in self.folder.glob('epoch_*.npy'))) or 'none'
            raise ValueError(
                f'{path} is missing or has no description beside it (complete files in the folder: {there}). The '
                f'maps of the last refresh belong to the run as its checkpoint does: copy the folder '
                f'{self.folder.name}/ of its work dir, or resume from a checkpoint at the end of an epoch before '
                f'the refresh'
            )
        values = json.loads(path.with_suffix('.json').read_text())
        return MapsInfo(**{**values, 'map_size': tuple(values['map_size'])})

    def open(self, path: Path, info: MapsInfo) -> np.memmap:
        """The maps (n, h, w), memory-mapped: only rows that are read take memory. Raises ValueError."""
        return open_maps(path, (info.images, *info.map_size))

    def listing(self, info: MapsInfo) -> list[str] | None:
        """Paths of the images that maps were made of, by index; None if that file is gone."""
        path = self._listing(info.fingerprint)
        if not path.is_file():
            return None
        with gzip.open(path, 'rt', encoding='utf-8', errors='surrogateescape', newline='\n') as file:
            return [line[:-1] for line in file]

    # ------------------------------------------------------------------------------------------ tidying

    def remove_unfinished(self) -> None:
        for path in self.folder.glob('*.tmp'):
            path.unlink()

    def remove_before(self, epoch: int) -> None:
        """Removes maps older than those of ``epoch``, and the listings that nothing refers to any more."""
        for path in self.folder.glob('epoch_*.npy'):
            match = _MAP_FILE.fullmatch(path.name)
            if match and int(match.group(1)) < epoch:
                path.with_suffix('.json').unlink(missing_ok=True)
                path.unlink()
        described = [json.loads(path.read_text()) for path in self.folder.glob('epoch_*.json')]
        used = {self._listing(each['fingerprint']).name for each in described}
        for path in self.folder.glob('images_*.txt.gz'):
            if path.name not in used:
                path.unlink()

    def _listing(self, listed: str) -> Path:
        return self.folder / f'images_{listed[:12]}.txt.gz'


class MapWriter:
    """Writes rows at their places through a file, not through a mapping: machines may share the folder by NFS."""

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode='r')
        self._offset, self._shape = array.offset, array.shape
        self._file = open(path, 'r+b')  # noqa: SIM115

    def __enter__(self) -> 'MapWriter':
        return self

    def __exit__(self, *_) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, indices: Sequence[int], maps: np.ndarray) -> None:
        """``maps`` (len(indices), h, w) become the maps of the images at ``indices``."""
        rows = np.ascontiguousarray(maps, dtype=DTYPE)
        if rows.shape != (len(indices), *self._shape[1:]):
            raise ValueError(
                f'maps are {rows.shape}, expected {(len(indices), *self._shape[1:])} for {len(indices)} images'
            )
        for index, row in zip(indices, rows, strict=True):
            self._file.seek(self._offset + int(index) * row.nbytes)
            self._file.write(row.tobytes())


def open_maps(path: Path, shape: tuple[int, int, int]) -> np.memmap:
    maps = np.load(path, mmap_mode='r')
    if maps.shape != shape or maps.dtype != DTYPE:
        raise ValueError(f'{path} holds {maps.dtype} {maps.shape}, expected {np.dtype(DTYPE)} {shape}')
    # Rows are read in random order: reading ahead would fetch what is not asked for.
    if hasattr(mmap, 'MADV_RANDOM'):
        maps._mmap.madvise(mmap.MADV_RANDOM)
    return maps


def unmap_pages(maps: np.memmap) -> None:
    """Takes the pages that were read out of this process's page table; the kernel still has them cached.

    Otherwise the process seems to grow to the size of the file as it comes to touch all of it.
    """
    if hasattr(mmap, 'MADV_DONTNEED'):
        maps._mmap.madvise(mmap.MADV_DONTNEED)


def describe_change(old: Sequence[str] | None, new: Sequence[str], old_count: int) -> str:
    """In words, what became of a data set: how many images are new, gone or moved, with examples."""
    if old is None:
        return f'it had {old_count} images and has {len(new)} now'
    before, after = set(old), set(new)
    parts = []
    for names, word in ((after - before, 'new'), (before - after, 'gone')):
        if names:
            parts.append(f'{len(names)} images are {word} (such as {min(names)})')
    if not parts:
        moved = sum(a != b for a, b in zip(old, new, strict=False))
        parts.append(f'the same images in another order ({moved} at another index)')
    return ', '.join(parts) + f'; {old_count} images then, {len(new)} now'


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + '.tmp')


def _replace(temporary: Path, path: Path) -> None:
    with open(temporary, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too, not only what it names
    finally:
        os.close(folder)
