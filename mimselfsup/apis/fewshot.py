"""k-NN from 1, 5, 10 and 20 images of each class."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from typing_extensions import Unpack

from mimselfsup.evaluation.fewshot import PROTOCOL as SUBSETS
from mimselfsup.evaluation.fewshot import check_shots, few_shot_knn, images_needed
from mimselfsup.evaluation.knn import DEFAULT_TEMPERATURE, check_temperature

from .frozen import (
    LABELLED,
    FrozenOptions,
    Splits,
    add_feature_options,
    feature_table,
    labelled_features,
    labelled_report,
)
from .protocol import Protocol, Table


def evaluate_fewshot(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    shots: Sequence[int] = tuple(SUBSETS),
    temperature: float = DEFAULT_TEMPERATURE,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """Accuracies in percent of val/ by a few images of each class of train/, ``row['fewshot'][shots]``: see
    :func:`~mimselfsup.evaluation.fewshot.few_shot_knn`. Options: :class:`~.frozen.FrozenFeatures`.

    Only those images of train/ are encoded that a subset can hold, unless features of all are in the cache.
    """
    check_shots(shots)
    check_temperature(temperature)
    device = options.get('device', 'cpu')

    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        return dict(fewshot=few_shot_knn(splits['train'], splits['val'], shots, temperature, device)), {}

    per_class = images_needed(shots)
    with labelled_features(config, checkpoint, data_root, per_class=per_class, **options) as (frozen, images):
        rows = frozen.rows(images, score)
        subsets = {number: dict(starts=list(SUBSETS[number].starts), k=SUBSETS[number].k) for number in shots}
        return labelled_report(frozen, images, rows, shots=subsets, temperature=temperature)


def fewshot_tables(report: Mapping[str, Any]) -> list[Table]:
    numbers = sorted(int(number) for number in report['settings']['shots'])

    def text(row: Mapping[str, Any], number: int) -> str:
        found = {int(key): values for key, values in row['fewshot'].items()}[number]
        return f'{found["top1"]:.1f} +- {found["top1_subsets"]:.1f}'

    columns = {f'{number} shot{"s"[: number > 1]}': lambda row, number=number: text(row, number) for number in numbers}
    notes = ['top-1 in %, mean and standard deviation over five subsets of the sorted images of each class']
    for number, found in report['rows'][0]['fewshot'].items():
        if found['ended']:
            notes.append(
                f'{number} shots: up to {found["ended"]} classes end before a subset does and give their last '
                f'{number} images, or all that they have'
            )
    return [feature_table('Few-shot k-NN of frozen features', report, columns, notes)]


def add_fewshot_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--shots', nargs='+', type=int, default=tuple(SUBSETS), metavar='N', help='images of each class')
    group.add_argument('--temperature', type=float, default=DEFAULT_TEMPERATURE)
    add_feature_options(group)


PROTOCOL = Protocol(
    name='fewshot',
    summary='k-NN from 1, 5, 10 and 20 images of each class',
    run=evaluate_fewshot,
    tables=fewshot_tables,
    add_options=add_fewshot_options,
    layout=LABELLED,
    reads=(('train', 'val'),),
)
