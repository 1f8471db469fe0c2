"""Whether the attention of a checkpoint finds the objects, beside that of random weights."""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mimselfsup.evaluation.attention_segmentation import attention_jaccard
from mimselfsup.evaluation.data import default_data_root
from mimselfsup.registry import DATASETS

from .model import load_config, load_model, without_pretrained

COLUMNS = dict(best_head='best head', mean_head='mean head', mean_map='mean map')


class ImagesWithForegrounds(Dataset):
    """The pictures of ``<root>/<split>`` as a whole at ``size`` (H, W), and their foregrounds, bool (H, W).

    The foreground is what is not 0 in ``<root>/masks/<split>/<same name>.png``. Raises ValueError without masks.
    """

    def __init__(self, data_root: str | Path, split: str, size: tuple[int, int]) -> None:
        self.root = Path(os.path.abspath(os.path.expanduser(data_root)))  # as ImageFolder writes paths
        self.size = size
        self.pictures, self.masks = self.root / split, self.root / 'masks' / split
        if not self.masks.is_dir():
            raise ValueError(
                f'{self.masks}: no such folder; attention is scored against label maps '
                f'masks/{split}/<class>/<name>.png beside {split}/<class>/<name>.jpg, where 0 is background '
                f'(tools/make_scenes.py writes them)'
            )
        pipeline = [
            dict(type='mimselfsup.LoadImage'),
            dict(type='mmpretrain.Resize', scale=size, backend='pillow', interpolation='bicubic'),
            dict(type='mmpretrain.PackInputs'),
        ]
        with DefaultScope.overwrite_default_scope('mimselfsup'):
            self.listing = DATASETS.build(
                dict(type='mimselfsup.ImageFolder', data_root=str(self.root), split=split, pipeline=[])
            )
            self.pipeline = Compose(pipeline)

    def __len__(self) -> int:
        return len(self.listing)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = Path(self.listing.get_data_info(index)['img_path'])
        label_map = (self.masks / path.relative_to(self.pictures)).with_suffix('.png')
        labels = cv2.imread(str(label_map), cv2.IMREAD_UNCHANGED) if label_map.is_file() else None
        if labels is None:
            raise ValueError(f'{label_map}: no readable label map for {path}')
        height, width = self.size
        foreground = cv2.resize((labels > 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        packed = self.pipeline(dict(img_path=str(path), sample_idx=index))
        return dict(inputs=packed['inputs'], foreground=torch.from_numpy(foreground.astype(bool)))


def evaluate_attention(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    mass: float = 0.6,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Jaccard index, in percent, of the last block's attention with the foregrounds of ``val/``.

    See :func:`~mimselfsup.evaluation.attention_segmentation.attention_jaccard`. ``rows`` hold the checkpoint, the mean
    and spread of random initialisations by ``seeds``, and the whole picture taken for the object.
    """
    config = load_config(config, cfg_options)
    data_root = data_root or default_data_root(config)
    if not data_root:
        raise ValueError('the config names no data folder (--data ROOT)')
    size = config.model.backbone.get('img_size', 224)
    size = (size, size) if isinstance(size, int) else tuple(size)
    dataset = ImagesWithForegrounds(data_root, 'val', size)

    def score(model: BaseModel) -> dict[str, float]:
        loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=default_collate)
        batches = (
            (
                model.data_preprocessor(dict(inputs=batch['inputs'], data_samples=None), False)['inputs'],
                batch['foreground'],
            )
            for batch in loader
        )
        return attention_jaccard(lambda images: attention_of(model, images), batches, mass)

    found = score(load_model(config, checkpoint, device))
    everything = found.pop('everything')
    rows = [dict(model='pre-trained', **found)]
    if seeds:
        runs = [score(load_model(without_pretrained(config), device=device, seed=seed)) for seed in seeds]
        row: dict[str, Any] = dict(model='random init', seeds=list(seeds))
        for name in COLUMNS:
            values = [run[name] for run in runs]
            row[name] = statistics.fmean(values)
            if len(values) > 1:
                row[f'{name}_std'] = statistics.stdev(values)
        rows.append(row)
    rows.append(dict(model='whole picture', **dict.fromkeys(COLUMNS, everything)))
    return dict(mass=mass, images=len(dataset), root=str(data_root), rows=rows)


@torch.no_grad()
def attention_of(model: BaseModel, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(B, heads, N) of the last block, as the saliency of maskings has it, and the grid. Raises ValueError if the
    backbone has none."""
    if not getattr(model.backbone, 'gives_attention', False):
        raise ValueError(f'{type(model.backbone).__name__} has no attention to hand out; use a MaskedViT or MaskedSwin')
    tokens = model.backbone.encode(images, cls_attention=True)
    return tokens.cls_attention.float(), model.backbone.token_grid(images.shape[-2:])


def format_attention_table(report: Mapping[str, Any]) -> str:
    lines = [
        f'{report["root"]}: where the last block has {100 * report["mass"]:.0f} % of its attention, against objects '
        f'of {report["images"]} images; Jaccard index in %'
    ]
    table = [['', *COLUMNS.values()]]
    for row in report['rows']:
        cells = []
        for name in COLUMNS:
            spread = row.get(f'{name}_std')
            cells.append(f'{row[name]:.1f}' if spread is None else f'{row[name]:.1f} +- {spread:.1f}')
        table.append([row['model'], *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *cells in table:
        aligned = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True))]
        lines.append('  '.join(aligned).rstrip())
    return '\n'.join(lines)
