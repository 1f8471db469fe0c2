"""Folders of images, or text lists of them, as a data set that survives broken files."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log

from mimselfsup.registry import DATASETS

from .samplers import EpochIndex
from .transforms.loading import BrokenImage

IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif')
_LIST_ENTRIES_CHECKED = 1000


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """All images below a folder, of any depth, or those that a text list names.

    A folder is read recursively in the order of the sorted names; links to folders are followed (not in
    circles), names that begin with a dot are skipped, an image is what ends like one (any case). A list has
    one path a line, absolute or relative to the folder of the list; blank lines and lines that begin with '#'
    are skipped, files that it names and that do not exist count as broken.

    A broken image is replaced by another, which is a pure function of (seed, epoch, index), and a
    replacement that is broken by the next. Everything about the sample (``sample_idx``, ``img_path``,
    ``gt_label``) is the replacement's; the metainfo of ``data_samples`` gets ``broken``, [(path, reason), ...],
    also in test mode, so that whoever needs exactly one row per image can leave the row out.

    Args:
        data_root: the folder or the list.
        pipeline: transforms; the loading one raises :class:`BrokenImage`.
        with_label: samples get ``gt_label``, the place of their class in ``metainfo['classes']``; the class is the
            first folder below the root (below the folder of the list). 'if_any': only if all images lie in such
            folders, two at least; otherwise there are no labels, and no image is left out for lack of one.
        split: 'train', 'val', ...: the sub folder of that name is read. Without such a sub folder 'train' is
            the folder itself, and any other split an error.
        max_broken: the share of broken images that a training run tolerates, see :attr:`broken_allowed`.
        metainfo: ``dict(classes=[...])`` fixes the classes and their order. By default they are the sorted names
            of the folders that hold images, so two splits agree only if both hold the same classes.
        indices: the first n samples (n > 0), the last (n < 0) or those of a list of indices.
        max_tries: after so many broken images in a row the sample is given up with a ValueError: the disk is
            gone, not a file.
        per_class: keeps the first so many files of each class, in the order of the sorted names, and leaves out what
            lies in no class folder; a class with fewer gives what it has. 260 on ImageNet is the fifth of it that
            AttMask (ECCV 2022) trains on.

    Raises ValueError for a root that does not exist or holds no images, saying what is there instead.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        pipeline: Sequence[dict | Callable] = (),
        with_label: bool | str = False,
        split: str | None = None,
        max_broken: float = 0.01,
        metainfo: dict | None = None,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
        max_tries: int = 50,
        per_class: int | None = None,
    ) -> None:
        if with_label not in (True, False, 'if_any'):
            raise ValueError(f"ImageFolder: with_label={with_label!r}, must be True, False or 'if_any'")
        if per_class is not None and per_class < 1:
            raise ValueError(
                f'ImageFolder: per_class={per_class}, must be at least 1, or None; it is how many images of each '
                f'class are kept'
            )
        if not 0 <= max_broken <= 1:
            raise ValueError(
                f'ImageFolder: max_broken={max_broken}, must lie in [0, 1]; it is the share of the images '
                f'that may be unreadable'
            )
        if max_tries < 1:
            raise ValueError(f'ImageFolder: max_tries={max_tries}, must be at least 1')
        self.with_label = with_label
        self.per_class = per_class
        self.max_broken = max_broken
        self.max_tries = max_tries
        self.source = _find_source(data_root, split)
        self._is_list = not os.path.isdir(self.source)
        self._folder = os.path.dirname(self.source) if self._is_list else self.source
        self._class_index: dict[str, int] = {}
        super().__init__(
            metainfo=metainfo,
            data_root=os.fspath(data_root),
            data_prefix={},
            indices=indices,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    @property
    def broken_allowed(self) -> int:
        """How many broken images a run tolerates: the share ``max_broken``, rounded down, but at least one.

        None at all with ``max_broken=0``.
        """
        return max(1, int(self.max_broken * len(self) + 1e-9)) if self.max_broken else 0

    def load_data_list(self) -> list[str]:
        """The paths, relative to the root where they lie in it. Not one dict per image: see _serialize_data."""
        if self._is_list:
            paths = _read_list(self.source)
        else:
            scan = _Scan(self.source)
            paths = list(scan)
            scan.check(found_images=bool(paths))
        if self.per_class is not None:
            paths = self._of_class_folders(paths, f'per_class={self.per_class}', 'leave per_class out')
            paths = self._first_of_each_class(paths, self.per_class)
        labelled = self._in_class_folders(paths) if self.with_label == 'if_any' else self.with_label
        if labelled:
            paths = self._of_class_folders(paths, 'with_label=True', 'set with_label=False')
            self._assign_classes(paths)
        note = f', {len(self._class_index)} classes' if self._class_index else ''
        print_log(f'{self.source}: {len(paths)} images{note}', logger='current')
        return paths

    def _below_folder(self, paths: list[str]) -> list[str]:
        """The same, without the detours that the entries of a list may make."""
        if not self._is_list:
            return paths
        return [os.path.relpath(os.path.join(self._folder, path), self._folder) for path in paths]

    def _in_class_folders(self, paths: list[str]) -> bool:
        folders = {_class_of(path) for path in self._below_folder(paths)}
        return len(folders) > 1 and not folders & {'', os.pardir} and not folders >= {'train', 'val'}

    def _of_class_folders(self, paths: list[str], asked: str, otherwise: str) -> list[str]:
        """Those that lie in a class folder. ``asked`` and ``otherwise``: for the errors, who asks for classes."""
        paths = self._below_folder(paths)
        outside = next((path for path in paths if _class_of(path) == os.pardir), None)
        if outside is not None:
            raise ValueError(
                f'{self.source}: {asked} takes the class from the first folder below {self._folder}, '
                f'but {outside} does not lie there; move the list to the folder of the class folders'
            )
        stray = [path for path in paths if not _class_of(path)]
        if len(stray) == len(paths):
            raise ValueError(
                f'{self.source}: {asked} needs class folders, but all {len(paths)} images lie directly in '
                f'{self._folder} (such as {stray[0]}); {otherwise} or sort them into folders'
            )
        if {_class_of(path) for path in paths} >= {'train', 'val'}:
            raise ValueError(
                f"{self.source}: {asked} would take the folders 'train' and 'val' for classes; "
                f"set split='train' or split='val'"
            )
        if stray:
            print_log(
                f'{self.source}: {len(stray)} images without a class folder are left out, such as {stray[0]}',
                logger='current',
                level=logging.WARNING,
            )
            paths = [path for path in paths if _class_of(path)]
        return paths

    def _first_of_each_class(self, paths: list[str], per_class: int) -> list[str]:
        if self._is_list:  # a folder is read in this order
            paths = sorted(paths, key=lambda path: path.split(os.sep))
        counts: Counter[str] = Counter()
        kept = []
        for path in paths:
            counts[_class_of(path)] += 1
            if counts[_class_of(path)] <= per_class:
                kept.append(path)
        fewer = sum(count < per_class for count in counts.values())
        note = f'; {fewer} classes have fewer' if fewer else ''
        print_log(
            f'{self.source}: the first {per_class} images of each of {len(counts)} classes are used, '
            f'{len(kept)} of {len(paths)}{note}',
            logger='current',
        )
        return kept

    def _assign_classes(self, paths: list[str]) -> None:
        found = sorted({_class_of(path) for path in paths})
        classes = list(self._metainfo.setdefault('classes', tuple(found)))
        unknown = [name for name in found if name not in set(classes)]
        if unknown:
            raise ValueError(
                f'{self.source}: the folder {unknown[0]!r} is none of the {len(classes)} classes that '
                f'metainfo gives ({", ".join(map(str, classes[:5]))}{", ..." if len(classes) > 5 else ""})'
            )
        self._class_index = {name: label for label, name in enumerate(classes)}

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        """All relative paths in one array, which workers share: some 40 bytes an image, 8 more for its end.

        A pickled dict per image, the parent's way, takes three times that, and far more while it is made.
        """
        encoded = [os.fsencode(path) for path in self.data_list]
        self.data_list.clear()
        ends = np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
        return np.frombuffer(b''.join(encoded), dtype=np.uint8), ends

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """``img_path``, ``sample_idx`` (of the type that ``idx`` has) and, with labels, ``gt_label``."""
        count = len(self.data_address)
        if not -count <= idx < count:
            raise IndexError(f'index {int(idx)} of {count} images')
        place = idx if idx >= 0 else count + idx
        start = self.data_address[place - 1] if place else 0
        path = os.fsdecode(self.data_bytes[start : self.data_address[place]].tobytes())
        info = dict(img_path=os.path.join(self._folder, path), sample_idx=place)
        if self._class_index:
            info['gt_label'] = self._class_index[_class_of(path)]
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        return [self.get_data_info(idx)['gt_label']]

    @force_full_init
    def __getitem__(self, idx: int) -> dict:
        broken: list[tuple[str, str]] = []
        for candidate in self._candidates(idx):
            try:
                data = self.prepare_data(candidate)
            except BrokenImage as error:
                broken.append((error.path, error.reason))
                continue
            if data is not None:  # None: the pipeline asks for another sample, as in BaseDataset
                return _report(data, broken) if broken else data
        reasons = '\n'.join(f'  {path}: {reason}' for path, reason in broken[:5])
        raise ValueError(
            f'{self.source}: sample {int(idx)} and all that were tried in its place, '
            f'{min(len(self), self.max_tries)} of {len(self)}, gave no image; the first of them:\n{reasons}'
        )

    def _candidates(self, idx: int) -> Iterator[int]:
        """``idx``, then distinct others in an order that depends on (seed, epoch, idx) alone."""
        yield idx
        count = len(self)
        seed, epoch, place = getattr(idx, 'seed', 0), getattr(idx, 'epoch', None), int(idx) % count
        generator = np.random.default_rng((seed, epoch or 0, place))
        tried = {place}
        while len(tried) < min(count, self.max_tries):
            other = int(generator.integers(count))
            if other not in tried:
                tried.add(other)
                yield other if epoch is None else EpochIndex(other, epoch, seed)


def check_data_root(path: str | os.PathLike, split: str | None = None) -> str:
    """The folder or list that ``ImageFolder(path, split=split)`` would read, found to hold an image.

    Stops at the first one (a list: at the first 1000 entries), so it takes no time where all is well. Raises
    ValueError as :class:`ImageFolder` does.
    """
    source = _find_source(path, split)
    if os.path.isdir(source):
        scan = _Scan(source)
        scan.check(found_images=next(iter(scan), None) is not None)
    else:
        _read_list(source, limit=_LIST_ENTRIES_CHECKED)
    return source


def _class_of(path: str) -> str:
    """The first folder of a path below the root: '..' for one that leaves it, '' for a file in the root itself."""
    folder, separator, _ = path.partition(os.sep)
    return folder if separator else ''


def _find_source(data_root: str | os.PathLike, split: str | None) -> str:
    """Absolute path of the folder or list to read."""
    if not data_root:
        raise ValueError(f'data_root={data_root!r}: give a folder of images or a text list of their paths (--data DIR)')
    root = os.path.abspath(os.path.expanduser(os.fspath(data_root)))
    if not os.path.exists(root):
        parent = os.path.dirname(root)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        raise ValueError(f'data_root={root} does not exist; {_contents(parent)}')
    if not os.path.isdir(root):
        if not os.path.isfile(root):
            raise ValueError(f'data_root={root} is neither a folder nor a text file that lists images')
        if split not in (None, 'train'):
            raise ValueError(f'data_root={root} is a list and has no split {split!r}; give a folder')
        return root
    if split is None:
        return root
    folder = os.path.join(root, split)
    if os.path.isdir(folder):
        print_log(f'{root} has a folder {split}/, which is used', logger='current')
        return folder
    if split == 'train':
        return root
    raise ValueError(f'data_root={root} has no folder {split}/ for split={split!r}; {_contents(root)}')


def _contents(folder: str, shown: int = 8) -> str:
    """One clause for an error: what lies directly in ``folder``."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name + ('/' if entry.is_dir() else '') for entry in entries)
    except OSError as error:
        return f'{folder} cannot be read ({error.strerror})'
    if not names:
        return f'{folder} is empty'
    return f'{folder} holds {", ".join(names[:shown])}{f", ... ({len(names)})" if len(names) > shown else ""}'


class _Scan:
    """Iterates over the images below a folder, as paths relative to it, and remembers what else was there."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.folders = 0
        self.others: Counter[str] = Counter()
        self.unreadable: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self._below(self.root, '', ())

    def _below(self, folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
        try:
            status = os.stat(folder)
            with os.scandir(folder) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable.append(f'{folder} ({error.strerror})')
            return
        identity = status.st_dev, status.st_ino
        if identity in above:
            return  # a link back to a folder that is being read
        self.folders += 1
        for entry in entries:
            name = entry.name
            if name.startswith('.'):
                continue
            if entry.is_dir():
                yield from self._below(entry.path, f'{prefix}{name}{os.sep}', (*above, identity))
            elif name.lower().endswith(IMAGE_EXTENSIONS) and (entry.is_file() or entry.is_symlink()):
                yield prefix + name  # a link to nowhere too: it is reported as broken, not passed over
            else:
                self.others[os.path.splitext(name)[1].lower() or 'without extension'] += 1

    def check(self, found_images: bool) -> None:
        """Raises ValueError without images, and warns of folders that could not be looked into."""
        unreadable = f'cannot be read: {", ".join(self.unreadable[:3])}'
        if found_images:
            if self.unreadable:
                print_log(
                    f'{len(self.unreadable)} folders of {self.root} are left out, they {unreadable}',
                    logger='current',
                    level=logging.WARNING,
                )
            return
        kinds = ', '.join(f'{count} {kind}' for kind, count in self.others.most_common(5))
        found = [f'{self.folders} folders, other files: {kinds or "none"}']
        if self.unreadable:
            found.append(unreadable)
        if any(kind in self.others for kind in ('.zip', '.tar', '.gz', '.tgz')):
            found.append('archives have to be unpacked')
        raise ValueError(
            f'no images in {self.root} (looked for {" ".join(IMAGE_EXTENSIONS)}); found {"; ".join(found)}'
        )


def _read_list(path: str, limit: int | None = None) -> list[str]:
    """The entries of a list, at most ``limit``. Raises ValueError if it is none, or none of its files exist."""
    try:
        with open(path, 'rb') as file:
            beginning = file.read(4096)
        if b'\0' in beginning:
            raise ValueError(
                f'data_root={path} is neither a folder nor a text list of images: it begins with '
                f'{beginning[:12]!r}; unpack an archive, give the folder of a single image'
            )
        # Names need not be UTF-8: what is not survives the way in and out.
        with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
            lines = (line.strip() for line in file)
            entries = list(islice((line for line in lines if line and not line.startswith('#')), limit))
    except OSError as error:
        raise ValueError(f'data_root={path} cannot be read: {error.strerror}') from error
    if not entries:
        raise ValueError(f'data_root={path} lists no images: it has no line that is neither blank nor a comment')
    folder = os.path.dirname(path)
    first = entries[:_LIST_ENTRIES_CHECKED]
    if not any(_is_file(os.path.join(folder, entry)) for entry in first):
        raise ValueError(
            f'data_root={path} is not a usable list of images: of its first {len(first)} entries none is a file, '
            f'such as {os.path.join(folder, first[0])[:200]!r}; it needs one path a line and nothing else, '
            f'absolute or relative to {folder}'
        )
    return entries


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:
        return False


def _report(data: dict, broken: list[tuple[str, str]]) -> dict:
    """Marks a sample as a replacement. Done after the pipeline: packing keeps only the keys it was told of."""
    sample = data.get('data_samples')
    if hasattr(sample, 'set_field'):
        sample.set_field(broken, 'broken', field_type='metainfo')
    else:
        data['broken'] = broken
    return data
