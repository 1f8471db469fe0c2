"""The images that frozen-feature protocols see: which, in which order, at which size."""

import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader, Dataset, Subset

from mimselfsup.registry import DATASETS


def eval_pipeline(config: Config) -> list[dict]:
    """``config.eval_pipeline``, or the usual evaluation view for the backbone's image size.

    That is: short side to 256/224 of the size (bicubic), centre crop of the size.
    """
    if config.get('eval_pipeline'):
        return [dict(step) for step in config.eval_pipeline]
    size = config.model.backbone.get('img_size', 224)
    height, width = (size, size) if isinstance(size, int) else size
    return [
        dict(type='mimselfsup.LoadImage'),
        dict(
            type='mmpretrain.ResizeEdge',
            scale=round(max(height, width) * 256 / 224),
            edge='short',
            backend='pillow',
            interpolation='bicubic',
        ),
        dict(type='mmpretrain.CenterCrop', crop_size=(height, width)),
        dict(type='mmpretrain.PackInputs'),
    ]


def default_data_root(config: Config) -> str | None:
    """The folder that the config trains on, if it names one."""
    dataset = config.get('train_dataloader', {}).get('dataset', {})
    while 'data_root' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset.get('data_root') or None


def missing_splits(data_root: str | Path | None) -> str | None:
    """What keeps a folder from being classified: a sentence, or None if train/ and val/ hold class folders."""
    if not data_root:
        return 'the config names no data folder'
    for split in ('train', 'val'):
        folder = Path(data_root) / split
        if not folder.is_dir():
            return f'{data_root} has no folder {split}/'
        if not any(entry.is_dir() for entry in folder.iterdir()):
            return f'{folder} has no class folders'
    return None


def build_eval_datasets(
    config: Config, data_root: str | Path, labels: str | Path | None = None, per_class: int | None = None
) -> tuple[Dataset, Dataset]:
    """The labelled images of ``train/`` and ``val/`` below ``data_root``, in the evaluation view.

    Of train/ only those that the list ``labels`` names (see :func:`listed_images`), or the first ``per_class`` of each
    class. Both number the classes as all of train/ does, also where val/ lacks some. Raises ValueError for a class
    that only val/ has: nothing could be classified as that.
    """
    train = build_labelled(eval_pipeline(config), data_root, split='train')
    classes = train.metainfo['classes']
    if labels is not None:
        chosen = listed_images(train, labels)
        train = build_labelled(eval_pipeline(config), data_root, split='train', indices=chosen)
    elif per_class is not None:
        train = build_labelled(eval_pipeline(config), data_root, split='train', per_class=per_class)
    return train, build_labelled(eval_pipeline(config), data_root, split='val', metainfo=dict(classes=classes))


def build_labelled(pipeline: list[dict], data_root: str | Path, **settings) -> Dataset:
    """An ImageFolder with labels; ``settings`` are its own."""
    fixed = dict(type='mimselfsup.ImageFolder', with_label=True, pipeline=pipeline, test_mode=True)
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        return DATASETS.build(dict(fixed, data_root=str(data_root), **settings))


def listed_images(dataset: Dataset, path: str | Path) -> list[int]:
    """Which images of ``dataset`` a text list names, in the order of the data set.

    A line is ``<class>/<file>`` or, as in SimCLR's lists of 1% and 10% of ImageNet, ``<file>`` alone; blank lines and
    lines that begin with '#' are skipped. Raises ValueError for a line that fits no image or images of two classes.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'labels={path}: not a readable text list of images ({error})') from error
    wanted = {line for line in lines if line and not line.startswith('#')}
    if not wanted:
        raise ValueError(f'labels={path} names no image: it needs a line <class>/<file> or <file> for each')
    by_name = any('/' not in line for line in wanted)
    chosen: list[int] = []
    class_of: dict[str, int] = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        name = info['img_path'].removeprefix(f'{dataset.source}{os.sep}')
        names = (name, os.path.basename(name)) if by_name else (name,)
        matched = [each for each in names if each in wanted]
        for each in matched:
            if class_of.setdefault(each, info['gt_label']) != info['gt_label']:
                raise ValueError(f'labels={path}: {each!r} is in several classes; write <class>/<file>')
        if matched:
            chosen.append(index)
    missing = sorted(wanted - set(class_of))
    if missing:
        raise ValueError(
            f'labels={path}: {len(missing)} of {len(wanted)} lines name no training image, such as {missing[0]!r}; a '
            f'line is <class>/<file> or <file>, with its suffix'
        )
    return chosen


def build_eval_loader(
    dataset: Dataset, batch_size: int = 64, workers: int = 2, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Every ``world_size``-th image from ``rank`` on, once, in order, nothing dropped.

    Draws no number from the default generators of this process.
    """
    if world_size > 1:
        dataset = Subset(dataset, range(rank, len(dataset), world_size))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=default_collate,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(0),
    )
