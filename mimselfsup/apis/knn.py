"""Weighted k-NN of frozen features."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from typing_extensions import Unpack

from mimselfsup.evaluation.knn import (
    DEFAULT_KS,
    DEFAULT_TEMPERATURE,
    best_k,
    check_temperature,
    clip_ks,
    knn_classify,
)

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


def evaluate_knn(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    ks: Sequence[int] = DEFAULT_KS,
    temperature: float = DEFAULT_TEMPERATURE,
    labels: str | Path | None = None,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """Accuracies in percent of val/ by its neighbours in train/, or in those images of it that the list ``labels``
    names; ``row['knn'][k]['top1']``. Options: :class:`~.frozen.FrozenFeatures`."""
    score = knn_score(ks, temperature, options.get('device', 'cpu'))
    with labelled_features(config, checkpoint, data_root, labels, **options) as (frozen, images):
        settings = dict(ks=list(ks), temperature=temperature, labels=labels and str(labels))
        return labelled_report(frozen, images, frozen.rows(images, score), **settings)


def knn_score(ks: Sequence[int], temperature: float, device: torch.device | str) -> Score:
    clip_ks(ks, 1)
    check_temperature(temperature)

    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        gallery, queries = splits['train'], splits['val']
        arguments = (gallery.features, gallery.labels, queries.features, queries.labels)
        return dict(knn=knn_classify(*arguments, ks, temperature, device)), {}

    return score


def knn_columns(report: Mapping[str, Any]) -> dict[str, Column]:
    ks = sorted(int(k) for k in report['rows'][0]['knn'])

    def values(row: Mapping[str, Any]) -> dict[int, Any]:
        return {int(k): value for k, value in row['knn'].items()}  # JSON has made strings of them

    columns: dict[str, Column] = {f'k-NN {k}': lambda row, k=k: cell(values(row)[k], 'top1') for k in ks}
    if report['data']['classes'] > 5:

        def top5(row: Mapping[str, Any]) -> str:
            best = best_k(values(row))
            return f'{values(row)[best]["top5"]:.1f} ({best})'

        columns['top-5 (k)'] = top5
    return columns


def knn_tables(report: Mapping[str, Any]) -> list[Table]:
    settings = report['settings']
    note = f'accuracy in %, top-1 unless stated; temperature {settings["temperature"]}; +- over seeds'
    return [feature_table('k-NN of frozen features', report, knn_columns(report), [note, *labels_note(report)])]


def add_knn_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--ks', nargs='+', type=int, default=DEFAULT_KS, metavar='K')
    group.add_argument('--temperature', type=float, default=DEFAULT_TEMPERATURE)
    add_labels_option(group)
    add_feature_options(group)


PROTOCOL = Protocol(
    name='knn',
    summary='weighted k-NN of frozen features',
    run=evaluate_knn,
    tables=knn_tables,
    add_options=add_knn_options,
    layout=LABELLED,
    reads=(('train', 'val'),),
)
