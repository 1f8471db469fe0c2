"""Data sets in layouts of their own, written as ``<split>/<class>/<image>``, which every part of this project reads."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

_STL10_SIDE = 96


def convert_stl10(source: str | os.PathLike, target: str | os.PathLike) -> dict[str, int]:
    """The labelled images of STL-10's binaries as PNG files: ``train/<class>/`` (5,000) and ``test/<class>/`` (8,000).

    ``source``: the folder of ``train_X.bin`` and its like, or the one above, which holds ``stl10_binary/``. Files are
    named by their place in the binary. Returns the number of images of each split. Raises ValueError if a file is
    absent or does not fit its labels, or if ``target`` has the split already.
    """
    source = Path(source)
    if (source / 'stl10_binary').is_dir():
        source = source / 'stl10_binary'
    wanted = ('class_names.txt', 'train_X.bin', 'train_y.bin', 'test_X.bin', 'test_y.bin')
    _require(source, wanted)
    classes = (source / 'class_names.txt').read_text().split()
    counts = {}
    for split in ('train', 'test'):
        pixels = np.memmap(source / f'{split}_X.bin', dtype=np.uint8, mode='r')
        labels = np.fromfile(source / f'{split}_y.bin', dtype=np.uint8)
        if pixels.size != labels.size * 3 * _STL10_SIDE**2 or not labels.size:
            raise ValueError(f'{source}: {split}_X.bin is not {labels.size} images of 96 x 96 pixels, one per label')
        if labels.min() < 1 or labels.max() > len(classes):
            raise ValueError(f'{source}: {split}_y.bin has labels outside 1 to {len(classes)}')
        with _new_folder(Path(target) / split) as folder:
            for name in classes:
                (folder / name).mkdir()
            for index, (planes, label) in enumerate(zip(pixels.reshape(len(labels), 3, -1), labels, strict=True)):
                # Each plane is stored column by column.
                image = planes.reshape(3, _STL10_SIDE, _STL10_SIDE).transpose(2, 1, 0)
                Image.fromarray(image).save(folder / classes[label - 1] / f'{index:05}.png')
        counts[split] = len(labels)
    return counts


def convert_tiny_imagenet(source: str | os.PathLike, target: str | os.PathLike) -> dict[str, int]:
    """Tiny ImageNet with its validation images in class folders: ``val/<wnid>/``; ``train`` is a link to the original.

    Images of val are hard links, or copies where there are none; ``source`` (``tiny-imagenet-200``) stays
    as it is. Returns the number of validation images and of classes. Raises ValueError if something is absent or
    ``target`` has the splits already.
    """
    source, target = Path(source), Path(target)
    _require(source, ('train', 'val/images', 'val/val_annotations.txt'))
    rows = [line.split('\t') for line in (source / 'val/val_annotations.txt').read_text().splitlines() if line.strip()]
    classes = {folder.name for folder in (source / 'train').iterdir() if folder.is_dir()}
    unknown = next((row for row in rows if len(row) < 2 or row[1] not in classes), None)
    if unknown is not None or not rows:
        raise ValueError(
            f'{source}: val/val_annotations.txt has {unknown or "no line"}, not <file> and a class of train/'
        )
    link = target / 'train'
    if link.exists() or link.is_symlink():
        raise ValueError(f'{link} exists already; remove it or choose another target')
    with _new_folder(target / 'val') as folder:
        for name in sorted({row[1] for row in rows}):
            (folder / name).mkdir()
        for name, label, *_ in rows:
            _link_or_copy(source / 'val/images' / name, folder / label / name)
    link.symlink_to((source / 'train').resolve(), target_is_directory=True)
    return dict(val=len(rows), classes=len(classes))


def _require(folder: Path, names: tuple[str, ...]) -> None:
    absent = [name for name in names if not (folder / name).exists()]
    if absent:
        raise ValueError(f'{folder} has no {", ".join(absent)}; expected there: {", ".join(names)}')


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when it is complete."""
    if path.exists():
        raise ValueError(f'{path} exists already; remove it or choose another target')
    unfinished = path.with_name(f'.{path.name}.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished
    unfinished.rename(path)


def _link_or_copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise ValueError(f'{source} does not exist, but val_annotations.txt names it')
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
