"""Features on disk, under a name that says everything they depend on.

A cache looked up by the name of a run hands out the features of last week's checkpoint. Here the name is a hash
of the content of the checkpoint, the model's config, the code that computes features, the evaluation view and
the listing of the images: what changes the features changes the name.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

import mimselfsup

from .features import Features

_DONE = 'features.json'


class FeatureCache:
    """``root/<hash>/`` holds one set of features: an array, and a description that is written last."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps(key, sort_keys=True, default=str)
        return self.root / hashlib.sha256(text.encode()).hexdigest()[:20]

    def load(self, key: Mapping[str, Any]) -> Features | None:
        """The features of ``key``, memory-mapped; None if they are absent or incomplete."""
        folder = self.folder(key)
        try:
            stored = json.loads((folder / _DONE).read_text())
            array = np.load(folder / 'features.npy', mmap_mode='c')
        except (OSError, ValueError):
            return None
        if stored['key'] != json.loads(json.dumps(key, default=str)):
            return None
        labels = None if stored['labels'] is None else torch.tensor(stored['labels'], dtype=torch.int64)
        return Features(torch.from_numpy(array)[: len(stored['paths'])], labels, stored['paths'])

    def start(self, key: Mapping[str, Any]) -> Path:
        """An empty folder for the array of ``key``; :meth:`finish` makes it valid."""
        folder = self.folder(key)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def finish(self, key: Mapping[str, Any], features: Features) -> None:
        folder = self.folder(key)
        labels = None if features.labels is None else features.labels.tolist()
        text = json.dumps(dict(key=key, labels=labels, paths=features.paths), default=str)
        (folder / 'writing').write_text(text)
        os.replace(folder / 'writing', folder / _DONE)


def file_hash(path: str | Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def listing_hash(dataset: Dataset) -> str:
    """Of path, label, size and time of change of every image, in order."""
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        try:
            status = os.stat(info['img_path'])
            state = (status.st_size, status.st_mtime_ns)
        except OSError:  # counts as broken when it is read
            state = None
        line = (info['img_path'], info.get('gt_label'), state)
        digest.update(repr(line).encode())
    return digest.hexdigest()


def code_hash() -> str:
    """Of the sources here that features come from, and of the versions of what they stand on."""
    digest = hashlib.sha256()
    package = Path(mimselfsup.__file__).parent
    sources = [
        *(path for room in ('models', 'structures') for path in sorted((package / room).rglob('*.py'))),
        *sorted((package / 'datasets').glob('*.py')),
        *sorted((package / 'datasets/transforms').rglob('*.py')),
        *(package / 'evaluation' / name for name in ('data.py', 'features.py')),
    ]
    for source in sources:
        digest.update(str(source.relative_to(package)).encode() + source.read_bytes())
    digest.update(f'{torch.__version__} {version("onedl-mmpretrain")} {version("pillow")}'.encode())
    return digest.hexdigest()
