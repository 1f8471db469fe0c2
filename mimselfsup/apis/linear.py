"""Linear classification of frozen features, without a training loop: the quick probe, and few labels."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from typing_extensions import Unpack

from mimselfsup.evaluation.linear import DEFAULT_LAMBDAS, linear_probe, logistic_regression

from .frozen import (
    LABELLED,
    Column,
    FrozenOptions,
    Score,
    Splits,
    add_feature_options,
    add_labels_option,
    feature_table,
    labelled_features,
    labelled_report,
    labels_note,
)
from .protocol import Protocol, Table, cell


def evaluate_linear(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """Accuracies in percent of val/ by logistic regression on train/, or on those images of it that the list
    ``labels`` names; ``row['linear']``, and beside it how the ``penalty`` was chosen. Options:
    :class:`~.frozen.FrozenFeatures`."""
    with labelled_features(config, checkpoint, data_root, labels, **options) as (frozen, images):
        rows = frozen.rows(images, linear_score(options.get('device', 'cpu')))
        return labelled_report(frozen, images, rows, labels=labels and str(labels))


def linear_score(device: torch.device | str) -> Score:
    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        gallery, queries = splits['train'], splits['val']
        probe = linear_probe(gallery.features, gallery.labels, queries.features, queries.labels, device=device)
        return dict(linear=dict(top1=probe.top1, top5=probe.top5)), dict(penalty=probe.penalty, held_out=probe.held_out)

    return score


def linear_columns(report: Mapping[str, Any]) -> dict[str, Column]:
    columns: dict[str, Column] = {'linear': lambda row: cell(row['linear'], 'top1')}
    if report['data']['classes'] > 5:
        columns['top-5'] = lambda row: cell(row['linear'], 'top5')
    return columns


def linear_tables(report: Mapping[str, Any]) -> list[Table]:
    notes = ['accuracy in %; penalty chosen on a tenth of the training images; +- over seeds', *labels_note(report)]
    return [feature_table('Linear probe of frozen features', report, linear_columns(report), notes)]


def evaluate_logreg(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    lambdas: Sequence[float] = DEFAULT_LAMBDAS,
    labels: str | Path | None = None,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """As :func:`evaluate_linear`, by :func:`~mimselfsup.evaluation.linear.logistic_regression`:
    ``row['logreg'][lambda]``."""
    device = options.get('device', 'cpu')

    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        gallery, queries = splits['train'], splits['val']
        arguments = (gallery.features, gallery.labels, queries.features, queries.labels)
        return dict(logreg=logistic_regression(*arguments, lambdas, device=device)), {}

    if not lambdas or min(lambdas) < 0:
        raise ValueError(f'logistic regression: lambdas={tuple(lambdas)}, must be one or more numbers >= 0')
    with labelled_features(config, checkpoint, data_root, labels, **options) as (frozen, images):
        rows = frozen.rows(images, score)
        return labelled_report(frozen, images, rows, lambdas=list(lambdas), labels=labels and str(labels))


def logreg_tables(report: Mapping[str, Any]) -> list[Table]:
    columns = {
        f'lambda {value:g}': lambda row, value=value: cell(
            {float(key): found for key, found in row['logreg'].items()}[value], 'top1'
        )
        for value in sorted(report['settings']['lambdas'])
    }
    notes = ['top-1 in %, L2-normalised features, no bias; nothing is chosen; +- over seeds', *labels_note(report)]
    return [feature_table('Logistic regression on frozen features', report, columns, notes)]


def add_linear_options(group: argparse._ArgumentGroup) -> None:
    add_labels_option(group)
    add_feature_options(group)


def add_logreg_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--lambdas', nargs='+', type=float, default=DEFAULT_LAMBDAS, metavar='X')
    add_linear_options(group)


PROTOCOL = Protocol(
    name='linear',
    summary='linear probe of frozen features, fitted to convergence',
    run=evaluate_linear,
    tables=linear_tables,
    add_options=add_linear_options,
    layout=LABELLED,
    reads=(('train', 'val'),),
)
LOGREG = Protocol(
    name='logreg',
    summary='logistic regression on normalised features, for few labels',
    run=evaluate_logreg,
    tables=logreg_tables,
    add_options=add_logreg_options,
    layout=LABELLED,
    reads=(('train', 'val'),),
)
