"""How far each head of each block looks, beside random weights and attention that is even everywhere."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils.data import Subset

from mimselfsup.evaluation.attention_distance import attention_distance, attention_distances
from mimselfsup.evaluation.data import build_eval_loader, default_data_root, eval_pipeline
from mimselfsup.models.backbones.masked_vit import MaskedViT
from mimselfsup.registry import DATASETS

from .model import load_config
from .protocol import Protocol, Table, cell, score_with_random_init

NUM_IMAGES = 500
TOKENS_AT_ONCE = 4096  # of all images together; the queries and keys of all blocks of a ViT-B are then 450 MB
HEADS = dict(mean='mean of the heads', min='nearest head', max='farthest head')


def evaluate_attention_distance(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    num_images: int = NUM_IMAGES,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Mean attention distance, in pixels of the evaluation view, of each head of each block.

    See :func:`~mimselfsup.evaluation.attention_distance.attention_distance`. The images are spread evenly over the
    sorted files of ``val/``, or of the whole folder where it has none. ``rows`` hold ``blocks``, by number from '1':
    ``mean``, ``min`` and ``max`` over the heads, and all ``heads``, by number. The last row is of attention that is
    even over all patches.
    """
    if num_images < 1:
        raise ValueError(f'num_images={num_images}, must be at least 1')
    config = load_config(config, cfg_options)
    data_root = data_root or default_data_root(config)
    if not data_root:
        raise ValueError('the config names no data folder (--data ROOT)')
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        listing = DATASETS.build(
            dict(
                type='mimselfsup.ImageFolder',
                data_root=str(data_root),
                split='val' if (Path(data_root) / 'val').is_dir() else 'train',
                pipeline=eval_pipeline(config),
                test_mode=True,
            )
        )
    chosen = np.linspace(0, len(listing) - 1, min(num_images, len(listing))).round().astype(int).tolist()
    images = Subset(listing, chosen)
    even: dict[str, float] = {}

    def score(model: BaseModel) -> dict[str, Any]:
        if not isinstance(model.backbone, MaskedViT):
            raise ValueError(
                f'{type(model.backbone).__name__} has no attention between all tokens, hence no distances of it; use a '
                f'MaskedViT'
            )
        batches = _batches(model, images, batch_size, workers)
        blocks = attention_distances(model.backbone, batches).double()
        if not even:
            grid = model.backbone.token_grid(tuple(next(_batches(model, images, 1, 0)).shape[-2:]))
            patches = grid[0] * grid[1]
            uniform = attention_distance(torch.ones(patches, patches), grid, model.backbone.patch_size).item()
            even.update({str(block): uniform for block in range(1, len(blocks) + 1)})
        return dict(blocks={str(number): _of_heads(heads) for number, heads in enumerate(blocks, 1)})

    rows = score_with_random_init(config, checkpoint, score, seeds, device)
    uniform = {block: dict(mean=value, min=value, max=value) for block, value in even.items()}
    rows.append(dict(model='even attention', blocks=uniform))
    return dict(
        data=dict(root=str(data_root), images=len(chosen)),
        settings=dict(num_images=num_images, unit='pixels'),
        rows=rows,
    )


def _batches(model: BaseModel, images: Subset, batch_size: int, workers: int) -> Iterator[Tensor]:
    for batch in build_eval_loader(images, batch_size, workers):
        inputs = model.data_preprocessor(batch, False)['inputs']
        rows, columns = model.backbone.token_grid(tuple(inputs.shape[-2:]))
        yield from inputs.split(max(TOKENS_AT_ONCE // (rows * columns), 1))


def _of_heads(heads: Tensor) -> dict[str, Any]:
    return dict(
        mean=heads.mean().item(),
        min=heads.min().item(),
        max=heads.max().item(),
        heads={str(number): value for number, value in enumerate(heads.tolist(), 1)},
    )


def distance_tables(report: Mapping[str, Any]) -> list[Table]:
    notes = [
        f'{report["data"]["root"]}: {report["data"]["images"]} images; pixels between the patch that asks and those '
        f'that it attends to, mean over all patches'
    ]
    blocks = list(report['rows'][0]['blocks'])
    header = ['', *(f'block {block}' for block in blocks)]
    return [
        Table(
            f'Attention distance, {title}',
            header,
            [[row['model'], *(cell(row['blocks'][block], name) for block in blocks)] for row in report['rows']],
            notes,
        )
        for name, title in HEADS.items()
    ]


def _add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--num-images',
        type=int,
        default=NUM_IMAGES,
        metavar='N',
        help=f'of val/, spread evenly (default: {NUM_IMAGES})',
    )


PROTOCOL = Protocol(
    name='attention-distance',
    summary='how far the heads of each block look',
    run=evaluate_attention_distance,
    tables=distance_tables,
    add_options=_add_options,
    layout='val/*, images at any depth',
    reads=(('val',),),
)
