"""Image retrieval on revisited Oxford and Paris, or what has their layout, by frozen features."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from mimselfsup.datasets.revisited import LAYOUT, RetrievalSet, find_retrieval_sets
from mimselfsup.evaluation.data import default_data_root
from mimselfsup.evaluation.features import FEATURES
from mimselfsup.evaluation.retrieval import (
    KS,
    chance_average_precision,
    rank_images,
    revisited_tasks,
    score_rankings,
)
from mimselfsup.evaluation.whole_pictures import Pictures, describe_pictures, multi_scale, shrink_to, tiled

from .model import load_config
from .protocol import Protocol, Table, cell, score_with_random_init

SUBFOLDER = 'retrieval'
SCALES = (1.0, 2**-0.5, 0.5)  # DINO's and iBOT's
LONGEST = 512 / 224  # iBOT's longer side in units of the side that its ViTs were trained at
PIXELS = 'pixels'


def evaluate_retrieval(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
    sets: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    image_size: int | None = None,
    scales: Sequence[float] = SCALES,
    crop_queries: bool = False,
    pixel_size: int = 32,
    progress: bool = True,
) -> dict[str, Any]:
    """Mean average precision and precision at 1, 5, 10, in percent, of the settings Medium and Hard.

    Args:
        data_root: holds ``<set>/jpg/*.jpg`` and ``<set>/gnd_<set>.pkl``; or is one such ``<set>``; or a world that has
            them in ``retrieval/``.
        batch_size: at most so many pictures of one size in a forward pass.
        sets: names of sets; by default all there are.
        features: of 'cls', 'avg'; by default all that the backbone has.
        image_size: pixels of the longer side, at most; by default 512 for a backbone of 224 px (as iBOT) and in
            proportion for others.
        scales: of the picture; features are averaged over them. ``(1,)`` for DINO's numbers on Oxford.
        crop_queries: only the box of a query, as the authors of the sets have it; DINO and its successors show all.
        pixel_size: side of the pictures of the raw-pixel row.
        progress: shows a bar.

    ``rows`` have an entry per feature: ``{set: {'medium' | 'hard': {'map', 'p1', 'p5', 'p10'}}}``.
    """
    config = load_config(config, cfg_options)
    if features is not None and (not features or not set(features) <= set(FEATURES)):
        raise ValueError(f'features={list(features)}, must be one or more of {", ".join(FEATURES)}')
    if not scales or min(scales) <= 0:
        raise ValueError(f'scales={list(scales)}, must be one or more positive numbers')
    image_size = image_size or round(LONGEST * max(image_sides(config)))
    if image_size < 1 or pixel_size < 1:
        raise ValueError(f'image_size={image_size} and pixel_size={pixel_size} must be at least 1')
    root = protocol_root(config, data_root, SUBFOLDER)
    found = find_retrieval_sets(root, sets)
    tasks = {each.name: revisited_tasks(each.easy, each.hard, each.junk) for each in found}

    def score(model: BaseModel) -> dict[str, dict[str, Any]]:
        """{feature: {set: {setting: numbers}}}, raw pixels among the features."""
        describe = _describer(model, features, scales, pixel_size)
        scores: dict[str, dict[str, Any]] = {}
        for each in found:
            queries, images = (
                describe_pictures(
                    Pictures(paths, partial(shrink_to, image_size), boxes),
                    describe,
                    batch_size,
                    workers,
                    f'{each.name} {what}',
                    progress,
                )
                for what, paths, boxes in (
                    ('queries', each.queries, each.boxes if crop_queries else None),
                    ('images', each.images, None),
                )
            )
            for feature, values in queries.items():
                orders = rank_images(values, images[feature])
                scores.setdefault(feature, {})[each.name] = {
                    setting: score_rankings(orders, *task) for setting, task in tasks[each.name].items()
                }
        return scores

    return dict(
        config=str(config.filename),
        checkpoint=str(checkpoint),
        data=dict(root=str(root), sets={each.name: _facts(each, tasks[each.name]) for each in found}),
        settings=dict(
            image_size=image_size,
            scales=[float(scale) for scale in scales],
            crop_queries=crop_queries,
            pixel_size=pixel_size,
        ),
        rows=rows_by_feature(score_with_random_init(config, checkpoint, score, seeds, device)),
    )


def image_sides(config: Config) -> tuple[int, int]:
    """(H, W) that the backbone of the config is for."""
    size = config.model.backbone.get('img_size', 224)
    return (size, size) if isinstance(size, int) else tuple(size)


def protocol_root(config: Config, data_root: str | Path | None, subfolder: str) -> Path:
    """``subfolder`` of the root, or of the folder that the config trains on, if it is there; else the root."""
    data_root = data_root or default_data_root(config)
    if not data_root:
        raise ValueError('the config names no data folder (--data ROOT)')
    root = Path(data_root).expanduser()
    return root / subfolder if (root / subfolder).is_dir() else root


def rows_by_feature(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of {feature: numbers} as one row per feature; raw pixels, which know no weights, get one of their own."""
    flat, pixels = [], []
    for row in rows:
        about = {name: value for name, value in row.items() if not isinstance(value, Mapping)}
        flat += [dict(about, feature=name, **row[name]) for name in row if name not in (*about, PIXELS)]
        pixels.append(dict(model='raw pixels', feature=PIXELS, **row[PIXELS]))
    return [*flat, pixels[0]]


def normalised(model: BaseModel, images: Tensor) -> Tensor:
    """What the backbone is used to, from uint8 (B, 3, H, W) in BGR."""
    return model.data_preprocessor(dict(inputs=images, data_samples=None), False)['inputs']


def thumbnails(inputs: Tensor, side: int) -> Tensor:
    """(B, 3 * side * side): normalised pictures of any aspect, squeezed by averaging areas."""
    return F.interpolate(inputs, size=(side, side), mode='area').flatten(1)


def _describer(model: BaseModel, features: Sequence[str] | None, scales: Sequence[float], pixel_size: int):
    def encoded(views: Tensor) -> dict[str, Tensor]:
        tokens = model.backbone.encode(tiled(model.backbone, views))
        has_cls = tokens.extra.shape[1] > 0
        if features and 'cls' in features and not has_cls:
            raise ValueError(f"feature 'cls': {type(model.backbone).__name__} has no [CLS] token; use 'avg'")
        read = dict(cls=lambda: tokens.extra.mean(1), avg=lambda: tokens.patches.mean(1))
        return {name: read[name]() for name in features or (FEATURES if has_cls else ('avg',))}

    def describe(images: Tensor) -> dict[str, Tensor]:
        inputs = normalised(model, images)
        return dict(multi_scale(encoded, inputs, scales), **{PIXELS: thumbnails(inputs, pixel_size)})

    return describe


def _facts(each: RetrievalSet, tasks: Mapping[str, tuple[Sequence, Sequence]]) -> dict[str, Any]:
    """``chance``: mean average precision of random orders, in percent."""
    chance = {}
    for setting, (positives, ignored) in tasks.items():
        values = [
            chance_average_precision(len(each.images) - len(left_out), len(wanted))
            for wanted, left_out in zip(positives, ignored, strict=True)
            if len(wanted)
        ]
        chance[setting] = 100 * sum(values) / len(values)
    return dict(images=len(each.images), queries=len(each.queries), chance=chance)


def retrieval_tables(report: Mapping[str, Any]) -> list[Table]:
    settings = report['settings']
    scales = ', '.join(f'{scale:.3g}' for scale in settings['scales'])
    how = (
        f'longer side at most {settings["image_size"]} px, scales {scales}, queries '
        f'{"cut to their boxes" if settings["crop_queries"] else "not cropped"}; mean over queries, in %'
    )
    tables = []
    for name, facts in report['data']['sets'].items():
        columns = [(setting, score) for setting in facts['chance'] for score in ('map', *(f'p{k}' for k in KS))]
        header = ['', 'feature']
        for setting, score in columns:
            header.append(f'{setting.capitalize()} mAP' if score == 'map' else f'mP@{score[1:]}')
        body = []
        for row in report['rows']:
            seeds = len(row.get('seeds', ()))
            label = f'{row["model"]} ({seeds} seeds)' if seeds > 1 else row['model']
            body.append([label, row['feature'], *(cell(row[name][setting], score) for setting, score in columns)])
        chance = ', '.join(f'{setting} {value:.1f}' for setting, value in facts['chance'].items())
        notes = [f'{facts["queries"]} queries, {facts["images"]} images; mAP by chance: {chance} %', how]
        tables.append(Table(f'Retrieval on {name}', header, body, notes))
    return tables


def _options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--sets', nargs='+', help='such as roxford5k (default: all there are)')
    group.add_argument(
        '--feature',
        dest='features',
        nargs='+',
        choices=FEATURES,
        help='[CLS] token, mean of the patch tokens; default: both',
    )
    group.add_argument(
        '--image-size', type=int, help='longer side, in pixels (default: 512 for a backbone of 224, in proportion)'
    )
    group.add_argument('--scales', nargs='+', type=float, default=SCALES, help='default: 1 0.7071 0.5; 1 for one scale')
    group.add_argument('--crop-queries', action='store_true', help='show only the box of a query')
    group.add_argument('--pixel-size', type=int, default=32, help='side, in the raw-pixel row (default: 32)')


PROTOCOL = Protocol(
    name='retrieval',
    summary='image retrieval on revisited Oxford and Paris: mAP of Medium and Hard',
    run=evaluate_retrieval,
    tables=retrieval_tables,
    add_options=_options,
    layout=LAYOUT,
    reads=(('gnd_*.pkl',), ('*/gnd_*.pkl',)),
    subfolder=SUBFOLDER,
)
