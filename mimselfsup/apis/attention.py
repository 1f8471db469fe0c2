"""Whether the attention of a checkpoint finds the objects, beside that of random weights."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor
from torch.utils.data import DataLoader

from mimselfsup.datasets.object_masks import LAYOUT, MASKS, ImagesWithObjects, collate_objects
from mimselfsup.evaluation.attention_segmentation import attention_jaccard
from mimselfsup.evaluation.data import default_data_root

from .model import load_config
from .protocol import Protocol, Table, cell, score_with_random_init

COLUMNS = dict(best_head='best head', mean_head='mean head', mean_map='mean map')


def evaluate_attention(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    mass: float = 0.6,
    masks: str = 'class',
    image_size: int | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Jaccard index, in percent, of the last block's attention with the objects of the val split.

    See :func:`~mimselfsup.evaluation.attention_segmentation.attention_jaccard`, and
    :class:`~mimselfsup.datasets.object_masks.ImagesWithObjects` for the data and ``masks``. Pictures are squashed to
    ``image_size`` squared, by default the backbone's size. ``rows`` hold the checkpoint, random initialisations, and
    the whole picture taken for the object.
    """
    config = load_config(config, cfg_options)
    data_root = data_root or default_data_root(config)
    if not data_root:
        raise ValueError('the config names no data folder (--data ROOT)')
    size = image_size or config.model.backbone.get('img_size', 224)
    size = (size, size) if isinstance(size, int) else tuple(size)
    dataset = ImagesWithObjects(data_root, 'val', size, masks)
    measured: dict[str, Any] = {}  # of the data, the same for every model

    def score(model: BaseModel) -> dict[str, float]:
        loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=collate_objects)
        batches = (
            (
                model.data_preprocessor(dict(inputs=batch['inputs'], data_samples=None), False)['inputs'],
                batch['objects'],
            )
            for batch in loader
        )
        found = attention_jaccard(lambda images: attention_of(model, images), batches, mass)
        measured.update({name: found.pop(name) for name in ('everything', 'images', 'objects')})
        return found

    rows = score_with_random_init(config, checkpoint, score, seeds, device)
    rows.append(dict(model='whole picture', **dict.fromkeys(COLUMNS, measured['everything'])))
    return dict(
        data=dict(root=str(data_root), images=measured['images'], objects=measured['objects']),
        settings=dict(mass=mass, masks=masks, image_size=list(size)),
        rows=rows,
    )


@torch.no_grad()
def attention_of(model: BaseModel, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(B, heads, N) of the last block, as the saliency of maskings has it, and the grid. Raises ValueError if the
    backbone has none."""
    if not getattr(model.backbone, 'gives_attention', False):
        raise ValueError(f'{type(model.backbone).__name__} has no attention to hand out; use a MaskedViT or MaskedSwin')
    tokens = model.backbone.encode(images, cls_attention=True)
    return tokens.cls_attention.float(), model.backbone.token_grid(images.shape[-2:])


def attention_tables(report: Mapping[str, Any]) -> list[Table]:
    data, settings = report['data'], report['settings']
    of_objects = dict(
        **{'class': 'all of a class in an image is one object', 'instance': 'every instance is an object'},
        foreground='all objects of an image are one',
    )
    notes = [
        f'{data["root"]}: {data["objects"]} objects in {data["images"]} images of '
        f'{" x ".join(map(str, settings["image_size"]))} pixels; {of_objects[settings["masks"]]}',
        f'Jaccard index in %, of where the last block has {100 * settings["mass"]:.0f} % of its attention; best head: '
        f'chosen for each object by the truth, an oracle',
    ]
    rows = [[row['model'], *(cell(row, name) for name in COLUMNS)] for row in report['rows']]
    return [Table('Attention on objects', ['', *COLUMNS.values()], rows, notes)]


def format_attention_table(report: Mapping[str, Any]) -> str:
    return '\n\n'.join(map(str, attention_tables(report)))


def _add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--mass', type=float, default=0.6, help='the share of attention that is kept (default: 0.6)')
    group.add_argument(
        '--masks',
        choices=MASKS,
        default='class',
        help='what is one object: all of a class in an image, an instance (VOC only), or all there is (default: class)',
    )
    group.add_argument(
        '--image-size',
        type=int,
        metavar='PIXELS',
        help="side of the pictures, squashed; VOC: 480 (default: the backbone's)",
    )


PROTOCOL = Protocol(
    name='attention',
    summary='whether the attention of the last block finds the objects',
    run=evaluate_attention,
    tables=attention_tables,
    add_options=_add_options,
    layout=LAYOUT,
    reads=(('val', 'masks/val'), ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation/val.txt')),
)
