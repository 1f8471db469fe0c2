"""Copy detection on Copydays by frozen features."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor

from mimselfsup.datasets.copydays import LAYOUT, read_copydays
from mimselfsup.evaluation.copy_detection import TOP, Whitening, cls_and_gem, copy_map
from mimselfsup.evaluation.retrieval import chance_average_precision
from mimselfsup.evaluation.whole_pictures import Pictures, describe_pictures, squeeze_to
from mimselfsup.registry import DATASETS

from .model import load_config
from .protocol import Protocol, Table, cell, score_with_random_init
from .retrieval import PIXELS, image_sides, normalised, protocol_root, rows_by_feature, thumbnails

SUBFOLDER = 'copydays'
FEATURE = 'cls+gem'
NONE = 'none'
FAMILIES = ('jpegqual', 'crops')  # blocks that come in degrees; their mean is a column


def evaluate_copy_detection(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
    distractors: str | Path | None = None,
    whitening: str | Path | None = None,
    centred_whitening: bool = False,
    image_size: int | None = None,
    pixel_size: int = 32,
    progress: bool = True,
) -> dict[str, Any]:
    """Mean average precision, in percent, of finding the original of a copy among the first 20.

    Args:
        data_root: holds ``original/``, ``strong/``, and if wanted ``jpegqual/*/`` and ``crops/*/``; or is a world that
            has them in ``copydays/``.
        distractors: folder of pictures that join the originals; by default ``distractors/`` in the root, if there;
            'none' for none.
        whitening: folder of other pictures, of which the whitening is learned; likewise.
        centred_whitening: covariance about the mean, not about zero as in DINO's released code.
        image_size: pixels; every picture becomes a square of that side. By default the backbone's (H, W).
        pixel_size: side of the pictures of the raw-pixel row.
        progress: shows a bar.

    ``rows`` hold ``strong`` and, where there are such copies, ``jpegqual`` and ``crops``, means over their degrees, and
    under ``blocks`` the value of each block. Published numbers are of ``strong`` with 10,000 distractors and a
    whitening learned of 20,000 pictures.
    """
    config = load_config(config, cfg_options)
    sides = image_sides(config) if image_size is None else (image_size, image_size)
    if min(sides) < 1 or pixel_size < 1:
        raise ValueError(f'image_size={image_size} and pixel_size={pixel_size} must be at least 1')
    root = protocol_root(config, data_root, SUBFOLDER)
    copies = read_copydays(root)
    others = {
        name: _pictures(folder or (root / name if (root / name).is_dir() else NONE))
        for name, folder in dict(distractors=distractors, whitening=whitening).items()
    }
    groups = dict(original=copies.originals, **others, **copies.queries)
    pictures = Pictures([path for paths in groups.values() for path in paths], partial(squeeze_to, tuple(sides)))

    def score(model: BaseModel) -> dict[str, dict[str, Any]]:
        """{feature: numbers}, raw pixels among the features; they are not whitened."""

        def describe(images: Tensor) -> dict[str, Tensor]:
            inputs = normalised(model, images)
            return {FEATURE: cls_and_gem(model.backbone.encode(inputs)), PIXELS: thumbnails(inputs, pixel_size)}

        described = describe_pictures(pictures, describe, batch_size, workers, 'Copydays', progress)
        scores = {}
        for feature, rows in described.items():
            parts = dict(zip(groups, rows.split([len(paths) for paths in groups.values()]), strict=True))
            learned_of = parts.pop('whitening')
            if len(learned_of) and feature != PIXELS:
                whiten = Whitening.fit(learned_of, centred=centred_whitening)
                parts = {name: whiten(values) for name, values in parts.items()}
            database = torch.cat([parts['original'], parts['distractors']])
            blocks = {block: copy_map(parts[block], database, copies.source[block]) for block in copies.queries}
            scores[feature] = dict(_by_family(blocks), blocks=blocks)
        return scores

    searched = len(copies.originals) + len(others['distractors'])
    return dict(
        config=str(config.filename),
        checkpoint=str(checkpoint),
        data=dict(
            root=str(root),
            originals=len(copies.originals),
            queries={block: len(paths) for block, paths in copies.queries.items()},
            distractors=len(others['distractors']),
            whitening=len(others['whitening']),
            chance=100 * chance_average_precision(searched, 1, TOP),
        ),
        settings=dict(image_size=list(sides), centred_whitening=centred_whitening, pixel_size=pixel_size, top=TOP),
        rows=rows_by_feature(score_with_random_init(config, checkpoint, score, seeds, device)),
    )


def _pictures(folder: str | Path) -> list[str]:
    """All images below a folder."""
    if str(folder) == NONE:
        return []
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        listing = DATASETS.build(dict(type='mimselfsup.ImageFolder', data_root=str(folder), pipeline=[]))
    return [listing.get_data_info(index)['img_path'] for index in range(len(listing))]


def _by_family(blocks: Mapping[str, float]) -> dict[str, float]:
    found = dict(strong=blocks['strong'])
    for family in FAMILIES:
        values = [value for block, value in blocks.items() if block.startswith(f'{family}/')]
        if values:
            found[family] = sum(values) / len(values)
    return found


def copy_detection_tables(report: Mapping[str, Any]) -> list[Table]:
    data, settings, rows = report['data'], report['settings'], report['rows']
    columns = [name for name in ('strong', *FAMILIES) if name in rows[0]]
    body = []
    for row in rows:
        seeds = len(row.get('seeds', ()))
        label = f'{row["model"]} ({seeds} seeds)' if seeds > 1 else row['model']
        body.append([label, row['feature'], *(cell(row, name) for name in columns)])
    counts = {
        family: sum(n for block, n in data['queries'].items() if block.split('/')[0] == family) for family in columns
    }
    height, width = settings['image_size']
    whitened = f'whitening learned of {data["whitening"]} pictures'
    if data['whitening'] and settings['centred_whitening']:
        whitened += ', centred'
    notes = [
        f'{data["originals"]} originals and {data["distractors"]} distractors at {width} x {height} px; copies: '
        + ', '.join(f'{count} {name}' for name, count in counts.items()),
        f'mAP in %, first {settings["top"]} ranks; by chance {data["chance"]:.1f} %; '
        + (whitened if data['whitening'] else 'no whitening'),
    ]
    missing = [name for name in ('distractors', 'whitening') if not data[name]]
    if missing:
        notes.append(f'without {" and ".join(missing)}: not comparable with published numbers')
    return [Table('Copy detection', ['', 'feature', *columns], body, notes)]


def _options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--distractors',
        metavar='DIR',
        help='pictures that join the originals, or none (default: ROOT/distractors, if there)',
    )
    group.add_argument(
        '--whitening',
        metavar='DIR',
        help='pictures to learn the whitening of, or none (default: ROOT/whitening, if there)',
    )
    group.add_argument(
        '--centred-whitening', action='store_true', help="covariance about the mean; DINO's code has it about zero"
    )
    group.add_argument('--image-size', type=int, help="side of the square, in pixels (default: the backbone's)")
    group.add_argument('--pixel-size', type=int, default=32, help='side, in the raw-pixel row (default: 32)')


PROTOCOL = Protocol(
    name='copy-detection',
    summary='copy detection on Copydays: mAP of strongly distorted copies',
    run=evaluate_copy_detection,
    tables=copy_detection_tables,
    add_options=_options,
    layout=LAYOUT,
    reads=(('original', 'strong'),),
    subfolder=SUBFOLDER,
)
