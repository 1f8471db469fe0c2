"""The images that frozen-feature protocols see: which, in which order, at which size."""

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


def build_eval_datasets(config: Config, data_root: str | Path) -> tuple[Dataset, Dataset]:
    """The labelled images of ``train/`` and ``val/`` below ``data_root``, in the evaluation view.

    Both number the classes as train/ does, also where val/ lacks some. Raises ValueError for a class that only
    val/ has: nothing could be classified as that.
    """
    settings = dict(
        type='mimselfsup.ImageFolder',
        data_root=str(data_root),
        with_label=True,
        pipeline=eval_pipeline(config),
        test_mode=True,
    )
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        train = DATASETS.build(dict(settings, split='train'))
        metainfo = dict(classes=train.metainfo['classes'])
        return train, DATASETS.build(dict(settings, split='val', metainfo=metainfo))


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
