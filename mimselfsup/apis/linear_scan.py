"""The linear probe by SGD over cached features, at many learning rates at once."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from typing_extensions import Unpack

from mimselfsup.evaluation.linear_scan import DEFAULT_LRS, DEFAULT_WEIGHT_DECAYS, SELECT_ON, check_grid, linear_scan

from .frozen import (
    LABELLED,
    FrozenOptions,
    Splits,
    add_feature_options,
    add_labels_option,
    feature_table,
    labelled_features,
    labelled_report,
    labels_note,
)
from .protocol import Protocol, Table, cell


def evaluate_linear_scan(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    lrs: Sequence[float] = DEFAULT_LRS,
    weight_decays: Sequence[float] = DEFAULT_WEIGHT_DECAYS,
    epochs: int = 100,
    head_batch_size: int = 1024,
    select_on: str = 'train',
    standardise: bool = False,
    labels: str | Path | None = None,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """Accuracies in percent of val/ by the chosen of many linear heads, ``row['linear_scan']``, with ``chosen`` and all
    ``heads``: see :func:`~mimselfsup.evaluation.linear_scan.linear_scan`. Options: :class:`~.frozen.FrozenFeatures`."""
    settings = dict(
        lrs=list(lrs),
        weight_decays=list(weight_decays),
        epochs=epochs,
        batch_size=head_batch_size,
        select_on=select_on,
        standardise=standardise,
    )
    check_grid(lrs, weight_decays, epochs, head_batch_size, select_on)
    device = options.get('device', 'cpu')

    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        gallery, queries = splits['train'], splits['val']
        arguments = (gallery.features, gallery.labels, queries.features, queries.labels)
        scan = linear_scan(*arguments, **settings, device=device)
        details = dict(
            chosen=dataclasses.asdict(scan.chosen),
            at_edge=scan.at_edge,
            heads=[dataclasses.asdict(head) for head in scan.heads],
        )
        return dict(linear_scan=dict(top1=scan.top1, top5=scan.top5)), details

    with labelled_features(config, checkpoint, data_root, labels, **options) as (frozen, images):
        rows = frozen.rows(images, score)
        return labelled_report(frozen, images, rows, **settings, labels=labels and str(labels))


def linear_scan_tables(report: Mapping[str, Any]) -> list[Table]:
    settings = report['settings']
    columns = {'top-1': lambda row: cell(row['linear_scan'], 'top1')}
    if report['data']['classes'] > 5:
        columns['top-5'] = lambda row: cell(row['linear_scan'], 'top5')
    columns['lr'] = lambda row: f'{row["chosen"]["lr"]:g}' if 'chosen' in row else ''
    columns['weight decay'] = lambda row: f'{row["chosen"]["weight_decay"]:g}' if 'chosen' in row else ''
    heads = len(settings['lrs']) * len(settings['weight_decays'])
    chosen_by = dict(
        train='a tenth of the training images, set aside', val='the validation images themselves, as iBOT does'
    )[settings['select_on']]
    notes = [
        f'accuracy in %, the best of {heads} heads by {chosen_by}; {settings["epochs"]} epochs over features without '
        f'augmentation; lr per 256 images; +- over seeds',
        *labels_note(report),
    ]
    edge = [f'{row["model"]} {row["feature"]}' for row in report['rows'] if row.get('at_edge')]
    if edge:
        notes.append(f'at the edge of the learning rates, where a better one may lie beyond: {", ".join(edge)}')
    return [feature_table('Linear heads on frozen features', report, columns, notes)]


def add_linear_scan_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--lrs', nargs='+', type=float, default=DEFAULT_LRS, metavar='X', help='per 256 images; 45')
    group.add_argument('--weight-decays', nargs='+', type=float, default=DEFAULT_WEIGHT_DECAYS, metavar='X')
    group.add_argument('--epochs', type=int, default=100)
    group.add_argument('--head-batch-size', type=int, default=1024)
    group.add_argument(
        '--select-on',
        choices=SELECT_ON,
        default='train',
        help='by what the head is chosen: a tenth of train/ (default), or val/, which is to report the best of many',
    )
    group.add_argument('--standardise', action='store_true', help='a BatchNorm before the head, as in MAE')
    add_labels_option(group)
    add_feature_options(group)


PROTOCOL = Protocol(
    name='linear-scan',
    summary='linear probe by SGD over cached features, many learning rates in one pass',
    run=evaluate_linear_scan,
    tables=linear_scan_tables,
    add_options=add_linear_scan_options,
    layout=LABELLED,
    reads=(('train', 'val'),),
)
