"""Accuracy on images of which the most attended patches are blacked out."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor
from typing_extensions import Unpack

from mimselfsup.evaluation.data import build_eval_loader
from mimselfsup.evaluation.features import encode_features
from mimselfsup.evaluation.linear import LinearClassifier, fit_linear_probe
from mimselfsup.evaluation.masked_images import DEFAULT_RATIOS, attention_order, black_out, check_ratios, random_order

from .attention import attention_of
from .frozen import (
    LABELLED,
    FrozenFeatures,
    FrozenOptions,
    Images,
    add_feature_options,
    data_note,
    labelled_features,
    labelled_report,
    row_name,
)
from .model import load_model
from .protocol import Protocol, Table, cell, mean_and_spread

HIDDEN = ('attention', 'random')


def evaluate_masked(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    reference: Sequence[str | Path] | None = None,
    mask_seed: int = 0,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """Top-1 in percent on val/ with a share of the patches black: ``row['attention'][ratio]`` where those go first that
    a reference attends to most (AttMask), ``row['random'][ratio]`` where any do.

    The head is a linear probe of the whole images of train/. ``reference``: config and checkpoint of the network
    whose last block ranks the patches, by default ``checkpoint``; it is the same for random initialisations, so that
    all rows see the same pictures. AttMask takes DINO's ViT-B/16. Options: :class:`~.frozen.FrozenFeatures`.
    """
    check_ratios(ratios)
    with labelled_features(config, checkpoint, data_root, **options) as (frozen, images):
        ranking = load_model(*reference, frozen.device) if reference else frozen.model()
        runs = {seed: _curves(frozen, images, ranking, seed, ratios, mask_seed) for seed in (None, *frozen.seeds)}
        rows = [dict(model='pre-trained', feature=kind, **found) for kind, found in runs.pop(None).items()]
        for kind in frozen.features if frozen.seeds else ():
            spread = mean_and_spread([found[kind] for found in runs.values()])
            rows.append(dict(model='random init', feature=kind, seeds=list(frozen.seeds), **spread))
        return labelled_report(
            frozen,
            images,
            rows,
            ratios=list(ratios),
            reference=[str(each) for each in reference] if reference else None,
            mask_seed=mask_seed,
        )


def _curves(
    frozen: FrozenFeatures,
    images: Mapping[str, Images],
    ranking: BaseModel,
    seed: int | None,
    ratios: Sequence[float],
    mask_seed: int,
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """{feature: {how hidden: {ratio: {'top1': percent}}}}, by one pass over val/."""
    found = frozen.of_model(images, frozen.features, seed)
    heads: dict[str, LinearClassifier] = {}
    for kind in frozen.features:
        gallery, queries = found[kind]['train'], found[kind]['val']
        classes = int(max(gallery.labels.max(), queries.labels.max())) + 1
        heads[kind] = fit_linear_probe(gallery.features, gallery.labels, classes, device=frozen.device)[0]

    model = frozen.model(seed)
    generator = torch.Generator().manual_seed(mask_seed)
    correct = {(kind, how, ratio): 0 for kind in heads for how in HIDDEN for ratio in ratios}
    count = 0
    for batch in build_eval_loader(images['val'].dataset, frozen.batch_size, frozen.workers):
        inputs, samples = batch['inputs'], batch['data_samples']
        intact = torch.tensor([not sample.get('broken') for sample in samples])
        labels = torch.tensor([int(sample.gt_label) for sample in samples])
        orders, grid = _orders(ranking, inputs, generator)
        for how in HIDDEN:
            for ratio in ratios:
                masked = dict(inputs=black_out(inputs, orders[how], ratio, grid), data_samples=samples)
                for kind, features in encode_features(model, masked, frozen.features).items():
                    predicted = heads[kind].logits(features).argmax(1).cpu()
                    correct[kind, how, ratio] += int((predicted == labels)[intact].sum())
        count += int(intact.sum())
    return {
        kind: {
            how: {f'{ratio:g}': dict(top1=100 * correct[kind, how, ratio] / count) for ratio in ratios}
            for how in HIDDEN
        }
        for kind in heads
    }


def _orders(
    ranking: BaseModel, inputs: Tensor, generator: torch.Generator
) -> tuple[dict[str, Tensor], tuple[int, int]]:
    """Which patches go first, and the grid that they form."""
    views = ranking.data_preprocessor(dict(inputs=inputs, data_samples=None), False)['inputs']
    attention, grid = attention_of(ranking, views)
    order = attention_order(attention).cpu()
    return dict(attention=order, random=random_order(*order.shape, generator)), grid


def masked_tables(report: Mapping[str, Any]) -> list[Table]:
    settings = report['settings']
    names = [f'{ratio:g}' for ratio in settings['ratios']]
    rows = [
        [row_name(row), row['feature'], how, *(cell(row[how][name], 'top1') for name in names)]
        for row in report['rows']
        for how in HIDDEN
    ]
    reference = ' '.join(settings['reference']) if settings['reference'] else 'the checkpoint itself'
    notes = [
        data_note(report['data']),
        f'top-1 in %, by the share of patches that is black; attention: those first that {reference} attends to most; '
        f'linear probe of whole images; +- over seeds',
    ]
    return [Table('Accuracy on masked images', ['', 'feature', 'black by', *names], rows, notes)]


def add_masked_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--ratios', nargs='+', type=float, default=DEFAULT_RATIOS, metavar='R', help='default: 0 to 0.9')
    group.add_argument(
        '--reference',
        nargs=2,
        metavar=('CONFIG', 'CKPT'),
        help='whose attention says what to black out (default: the checkpoint itself)',
    )
    group.add_argument('--mask-seed', type=int, default=0, help='of the random control')
    add_feature_options(group)


PROTOCOL = Protocol(
    name='masked',
    summary='accuracy on images of which the most attended patches are black',
    run=evaluate_masked,
    tables=masked_tables,
    add_options=add_masked_options,
    layout=LABELLED,
    reads=(('train', 'val'),),
)
