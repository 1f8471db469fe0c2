"""Where the data of a config lies: put in place by ``--data``, and looked at before a model is built."""

import inspect
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mimselfsup.datasets.label_maps import read_label_map, wrong_labels
from mimselfsup.registry import DATASETS

from .class_counts import class_count
from .config_nodes import LOADERS, bare, dicts
from .validation import registered

_EVALUATORS = ('val_evaluator', 'test_evaluator')
_CHUNK = 1 << 20  # bytes
LVIS_CLASSES = 1203  # of LVIS v1
# What the names of classes tell of a set, and what is easily missed about it.
_ABOUT = dict(
    CocoFile=(
        "Annotations in COCO's format, and the pictures where their file_name says, below the root; "
        'tools/make_scenes.py --layouts coco writes a world of both.'
    ),
    ToyLVIS='A world of tools/make_scenes.py --layouts lvis.',
    Coco='COCO 2017: pictures and annotations as they are unpacked.',
    LVIS='LVIS v1: its annotations beside the picture folders of COCO 2017; val has pictures of train2017 too.',
    ADE20K='ADE20K: the release for scene parsing, ADEChallengeData2016.',
    Cityscapes=(
        'Cityscapes: leftImg8bit and gtFine; the label maps *_labelTrainIds.png are not in the release, '
        'createTrainIdLabelImgs of cityscapesScripts makes them.'
    ),
    PascalVOC=(
        'PascalVOC 2012 (VOCdevkit/VOC2012); SegmentationClassAug and aug.txt are the annotations of SBD, which '
        "mmseg's tools/dataset_converters/voc_aug.py converts."
    ),
)


def set_data_root(cfg: Config, path: str) -> None:
    """Puts ``path`` wherever the config names the folder of its data.

    That is every ``data_root`` that is set, of data sets (wrapped ones too), hooks and evaluators, and every
    file name that begins with one of those.
    """
    sections = [*LOADERS, *_EVALUATORS, 'custom_hooks', 'default_hooks']
    nodes = [node for name in sections for node in dicts(cfg.get(name))]
    replaced = {node['data_root'] for node in nodes if isinstance(node.get('data_root'), str)} - {''}
    for node in nodes:
        if isinstance(node.get('data_root'), str):
            node['data_root'] = path
        for key, value in node.items():
            old = next((root for root in replaced if isinstance(value, str) and _lies_in(value, root)), None)
            if old and key != 'data_root':
                node[key] = os.path.join(path, os.path.relpath(value, old))
    for loader in [node for node in nodes if isinstance(node.get('dataset'), dict)]:
        if bare(loader['dataset'].get('type')) == 'ImageFolder':
            loader['dataset']['data_root'] = path


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip('/') + '/')


def check_data(cfg: Config) -> None:
    """Whether what the training, validation and test data are read from is there.

    Annotation files and picture folders, for data sets that have lists or annotations also the first picture and its
    label map. Raises FileNotFoundError with what is missing and the tree that this config expects, ValueError for an
    ImageFolder without images and for a label map of colours, or of values that are no class.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mimselfsup'):
        sources = [
            _Source(f'{name}.dataset', dataset)
            for name in LOADERS
            for dataset in dicts(cfg.get(name))
            if 'type' in dataset and 'data_root' in dataset
        ]
        for source in sources:
            if source.kind == 'ImageFolder':
                _check_image_folder(source)
            elif source.is_local:
                lacking = source.lacking()
                if lacking:
                    raise FileNotFoundError(_what_is_missing(cfg, sources, source, lacking))
                source.check_void()
                source.check_label_map()
        for name in _EVALUATORS:
            for node in dicts(cfg.get(name)):
                path = node.get('ann_file')
                if isinstance(path, str) and '://' not in path and not os.path.isfile(path):
                    raise FileNotFoundError(f'{name}.ann_file={path} does not exist; --data DIR sets it with the data')


def _check_image_folder(source: '_Source') -> None:
    if not source.root:
        raise ValueError(f'{source.where}.data_root is not set: pass --data DIR, a folder of images or a list of them')
    from mimselfsup.datasets import check_data_root

    check_data_root(source.root, source.dataset.get('split'))


@dataclass
class _Source:
    """A data set of a config. ``where``: the key of the config that names it."""

    where: str
    dataset: dict[str, Any]

    @property
    def kind(self) -> str:
        return bare(self.dataset['type'])

    @property
    def root(self) -> str:
        return self.dataset['data_root'] or ''

    @property
    def is_local(self) -> bool:
        elsewhere = (self.dataset.get('backend_args') or {}).get('backend', 'local') != 'local'
        return bool(self.root) and '://' not in self.root and not elsewhere

    @property
    def annotations(self) -> str:
        path = self.dataset.get('ann_file')
        return path if isinstance(path, str) else ''

    @property
    def folders(self) -> dict[str, str]:
        """What kind of thing -> folder below the root."""
        prefix = self.dataset.get('data_prefix') or {}
        folders = dict(img_path=prefix) if isinstance(prefix, str) else dict(prefix)
        return {key: value for key, value in folders.items() if isinstance(value, str)}

    @property
    def is_coco_json(self) -> bool:
        return self.annotations.endswith('.json') and any(word in self.kind for word in ('Coco', 'LVIS'))

    @property
    def about(self) -> str:
        """Its key in what is told of sets; '' if nothing is."""
        key = next((word for word in _ABOUT if word in self.kind), '')
        real = key != 'LVIS' or class_count(self.dataset) in (None, LVIS_CLASSES)
        return key if real else 'ToyLVIS'

    def tree(self) -> Iterator[tuple[str, str]]:
        """(path below the root, what it is)."""
        if self.annotations:
            yield self.annotations, ''
        if self.kind == 'SegmentationFileDataset':
            yield 'classes.txt', 'a name a line, in the order of the labels'
        for key, folder in self.folders.items():
            what = f'label maps, *{self._argument("seg_map_suffix", ".png")}' if 'seg' in key else 'pictures'
            if folder.strip('/.'):
                yield folder.rstrip('/') + '/', what
            elif 'LVIS' in self.kind:  # the addresses of the pictures say in which folder they are
                for split in ('train', 'val'):
                    yield (f'{split}2017/' if self.about == 'LVIS' else f'{split}/'), what

    def lacking(self) -> list[str]:
        """Paths below the root that are not there; [''] for the root itself."""
        if not os.path.exists(self.root):
            return ['']
        missing = []
        if self.annotations and not os.path.isfile(self._path(self.annotations)):
            missing.append(self.annotations)
        for folder in self.folders.values():
            path = self._path(folder)
            if not os.path.isdir(path):
                missing.append(folder.rstrip('/') + '/')
            elif not any(os.scandir(path)):
                missing.append(f'{folder.rstrip("/") or "."}/* (the folder is empty)')
        return missing or [
            f'{path}{self._other_suffix(path)}' for path in self._first_files() if not os.path.isfile(self._path(path))
        ]

    def _other_suffix(self, path: str) -> str:
        """What there is instead of a folder's `*.jpg`, and how to say so."""
        folder, name = os.path.split(path)
        if not name.startswith('*'):
            return ''
        found = sorted({Path(each).suffix for each in _files(Path(self._path(folder)))} - {''})
        return f' (files there end in {", ".join(found)}: img_suffix says which)' if found else ''

    def check_void(self) -> None:
        """mmseg asks data set and pipeline whether 0 is void, and stops at the first sample where they differ."""
        if 'seg_map_path' not in self.folders:
            return
        own = self._argument('reduce_zero_label', False)
        for step in self.dataset.get('pipeline') or ():
            other = step.get('reduce_zero_label') if bare(step.get('type')) == 'LoadAnnotations' else None
            if other not in (None, own):
                raise ValueError(
                    f'{self.where}: reduce_zero_label={own} of the data set ({self.kind}), but {other} in '
                    f'LoadAnnotations of its pipeline: True where 0 is void and 1 the first class, else False'
                )

    def check_label_map(self) -> None:
        """Looks into the first one: what is wrong with it, a loss would tell as an index out of range, if at all."""
        files = list(self._first_files()) if 'seg_map_path' in self.folders else []
        if len(files) != 2:
            return
        path = self._path(files[1])
        labels = read_label_map(path)
        count = None if (self.dataset.get('metainfo') or {}).get('classes') else class_count(self.dataset)
        if count is None:
            return
        wrong = wrong_labels(labels, count, int(self._argument('reduce_zero_label', False)), self.kind)
        if wrong:
            raise ValueError(f'{self.where}: {path} {wrong}')

    def _first_files(self) -> Iterator[str]:
        """The first picture, and its label map, below the root."""
        pictures = self.folders.get('img_path', self.folders.get('img'))
        if pictures is None:
            return
        if self.is_coco_json:
            name = _first_picture(Path(self._path(self.annotations)), 'LVIS' in self.kind)
            if name:
                yield os.path.join(pictures, name)
            return
        labels = self.folders.get('seg_map_path')
        if labels is None:
            return
        suffix, label_suffix = self._argument('img_suffix', '.jpg'), self._argument('seg_map_suffix', '.png')
        if self.annotations:
            with open(self._path(self.annotations)) as lines:
                stem = next((line.strip() for line in lines if line.strip()), '')
        else:
            folder = Path(self._path(pictures))
            found = next((path for path in _files(folder) if path.endswith(suffix)), None)
            stem = os.path.relpath(found, folder).removesuffix(suffix) if found else '*'
        if stem:
            yield os.path.join(pictures, stem + suffix)
        if stem.strip('*'):
            yield os.path.join(labels, stem + label_suffix)

    def _path(self, below: str) -> str:
        return os.path.join(self.root, below)

    def _argument(self, name: str, default: Any) -> Any:
        """An argument of the class, or what it is by default there."""
        if name in self.dataset:
            return self.dataset[name]
        built = registered(DATASETS, self.dataset['type'], self.dataset.get('_scope_'))
        for owner in getattr(built, '__mro__', ()):
            argument = inspect.signature(owner.__init__).parameters.get(name) if '__init__' in vars(owner) else None
            if argument is not None and isinstance(argument.default, type(default)):
                return argument.default
        return default


def _files(folder: Path) -> Iterator[str]:
    for where, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(where, name)


def _first_picture(annotations: Path, by_address: bool) -> str | None:
    """The file of the first picture in a json file of COCO, or of LVIS, which has addresses instead. It may be a
    gigabyte: it is not parsed."""
    key = rb'coco_url|file_name' if by_address else rb'file_name'
    pattern, rest = re.compile(rb'"(' + key + rb')"\s*:\s*("(?:[^"\\]|\\.)+")'), b''
    with open(annotations, 'rb') as file:
        while chunk := file.read(_CHUNK):
            found = pattern.search(rest + chunk)
            if found:
                name = json.loads(found.group(2))
                # http://images.cocodataset.org/val2017/000000397133.jpg
                return name if found.group(1) == b'file_name' else name.split('://')[-1].partition('/')[2]
            rest = chunk[-1024:]
    return None


def _what_is_missing(cfg: Config, sources: list[_Source], source: _Source, lacking: list[str]) -> str:
    root = source.root
    if lacking == ['']:
        first = f'{source.where}.data_root={root} does not exist; --data DIR sets it'
    else:
        there = sorted(os.listdir(root))
        holds = ', '.join(there[:8]) + (', ...' if len(there) > 8 else '')
        first = f'{source.where}: {root} lacks {", ".join(lacking)}; it holds {holds or "nothing"}'
    paths = {path: what for each in sources if each.root == root for path, what in each.tree()}
    about = _ABOUT.get(source.about, '')
    if not paths:
        return first
    expected = [f'{first}. Expected ({source.kind}):', f'  {root.rstrip("/")}/', *_tree_lines(paths), about]
    return '\n'.join(expected).rstrip()


def _tree_lines(paths: dict[str, str], indent: int = 4) -> Iterator[str]:
    """{'a/b.json': '', 'a/c/': 'pictures'} -> lines of a tree, what stands in one folder together."""
    inside: dict[str, dict[str, str]] = {}
    for path, what in paths.items():
        head, slash, rest = path.partition('/')
        inside.setdefault(head + slash, {})
        if rest:
            inside[head + slash][rest] = what
    for name, below in inside.items():
        what = paths.get(name, '')
        yield f'{" " * indent}{name:<{max(0, 40 - indent)}}{what}'.rstrip()
        yield from _tree_lines(below, indent + 2)
