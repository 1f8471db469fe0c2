"""How many classes the data have, and whether the heads of a detector or segmentor are for as many."""

import inspect
import json
import mmap
import os
import re
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mimselfsup.datasets.class_names import read_class_names
from mimselfsup.registry import DATASETS

from .config_nodes import LOADERS, bare, dicts
from .validation import registered

_FROM_FILES = ('CocoFileDataset', 'LVISDataset', 'SegmentationFileDataset')
_FIRST_READ = 1 << 20  # bytes


def set_class_counts(cfg: Config) -> None:
    """Makes ``num_classes`` what the data say, for data sets that read their classes from files; then compares.

    Heads that are all for one number are then for that of the files (``--data`` of one's own). Raises ValueError where
    files differ from one another, or where a head is for another number than the data have: mmdet and mmseg train and
    score that without a word, or stop with an index out of range.
    """
    if cfg.get('default_scope') in ('mmdet', 'mmseg') and isinstance(cfg.get('model'), dict):
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            _set_class_counts(cfg)


def class_count(dataset: dict[str, Any]) -> int | None:
    """How many classes a data set will have, if that can be said before it is built; its type is looked for in the
    scope of the moment."""
    if isinstance(dataset.get('num_classes'), int):
        return dataset['num_classes']
    names = (dataset.get('metainfo') or {}).get('classes')
    if names is None:
        built = registered(DATASETS, dataset['type'], dataset.get('_scope_'))
        own = inspect.signature(built.__init__).parameters.get('num_classes') if built else None
        if own is not None:
            return own.default if isinstance(own.default, int) else None
        names = (getattr(built, 'METAINFO', None) or {}).get('classes')
    return len(names) if isinstance(names, list | tuple) else None


def _set_class_counts(cfg: Config) -> None:
    found: dict[str, tuple] = {}
    for where, dataset in _datasets(cfg):
        if bare(dataset['type']) not in _FROM_FILES:
            continue
        path = _file_of(dataset)
        if not os.path.isfile(path):
            return  # check_data says so, with what is expected
        found[path] = read_class_names(path) if path.endswith('.txt') else _categories(path)
        first = next(iter(found))
        if found[path] != found[first]:
            counts = f'{len(found[path])} classes and {len(found[first])}'
            odd = sorted({str(each) for each in {*found[path]} ^ {*found[first]}})
            raise ValueError(
                f'{where}: {path} and {first} list {counts}, not the same: {", ".join(odd[:4]) or "their order"}; the '
                f'order makes the labels'
            )
    if found:
        _set(cfg, len(found[first]), first)
    _compare(cfg)


def _set(cfg: Config, count: int, path: str) -> None:
    for _, dataset in _datasets(cfg):
        if bare(dataset['type']) in _FROM_FILES:
            dataset['num_classes'] = count
    heads = dict(_heads(cfg.model))
    before = {head['num_classes'] for head in heads.values()}
    if len(before) == 1 and before != {count}:  # else one of them is meant: _compare names it
        for head in heads.values():
            head['num_classes'] = count
        print_log(f'num_classes: {count}, those of {path}, instead of {before.pop()}, in {", ".join(heads)}')


def _compare(cfg: Config) -> None:
    heads = list(_heads(cfg.model))
    for where, dataset in _datasets(cfg):
        count = class_count(dataset)
        for key, head in heads:
            own = head['num_classes']
            if count not in (None, own):
                raise ValueError(f'{key}.num_classes={own}, but {where} ({bare(dataset["type"])}) has {count} classes')


def _datasets(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Those with files, wrapped ones too; first the training data."""
    for name in LOADERS:
        for node in dicts(cfg.get(name)):
            if 'type' in node and 'data_root' in node:
                yield f'{name}.dataset', node


def _heads(model: dict, key: str = 'model') -> Iterator[tuple[str, dict]]:
    """(key, config) of all that say ``num_classes``, but for what has classes of its own: the RPN (objects and
    background) and a semantic head beside the detector's."""
    if isinstance(model.get('num_classes'), int):
        yield key, model
    for name, child in model.items():
        children = {name: child} if isinstance(child, dict) else {}
        if isinstance(child, list | tuple):
            children = {f'{name}.{place}': each for place, each in enumerate(child) if isinstance(each, dict)}
        for below, node in children.items():
            if name not in ('rpn_head', 'semantic_head', 'backbone', 'train_cfg', 'test_cfg'):
                yield from _heads(node, f'{key}.{below}')


def _file_of(dataset: dict[str, Any]) -> str:
    root = dataset.get('data_root') or ''
    if bare(dataset['type']) == 'SegmentationFileDataset':
        return os.path.join(root, 'classes.txt')
    return os.path.join(root, dataset.get('ann_file', ''))


def _categories(path: str) -> tuple[str, ...]:
    """The names of the categories of a COCO file, which may be a gigabyte: the rest is not parsed. Raises ValueError
    if there are none."""
    if os.path.getsize(path):
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = re.search(rb'"categories"\s*:\s*(?=\[)', content)
            size = _FIRST_READ
            while found and size < 2 * len(content) + _FIRST_READ:
                part = content[found.end() : found.end() + size].decode(errors='ignore')
                try:
                    return tuple(each['name'] for each in json.JSONDecoder().raw_decode(part)[0])
                except json.JSONDecodeError:  # cut off
                    size *= 2
    raise ValueError(f'{path}: no "categories", which a COCO annotation file lists')
