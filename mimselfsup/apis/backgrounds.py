"""ImageNet-9: accuracy where objects stand before other backgrounds than theirs."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from typing_extensions import Unpack

from mimselfsup.evaluation.backgrounds import (
    LAYOUT,
    VARIATIONS,
    bg_gap,
    build_variations,
    check_variations,
    mapped_accuracy,
    read_class_map,
    whole_pipeline,
)
from mimselfsup.evaluation.data import build_labelled, eval_pipeline
from mimselfsup.evaluation.linear import fit_linear_probe

from .frozen import FrozenFeatures, FrozenOptions, Images, Splits, add_feature_options, row_name
from .protocol import Protocol, Table, cell

GAP = 'bg_gap'


def evaluate_backgrounds(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    variations: Sequence[str] = VARIATIONS,
    head_root: str | Path | None = None,
    class_map: str | Path | None = None,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """Accuracies in percent on the ``variations`` below ``data_root``, ``row['accuracy'][variation]``, and ``bg_gap``:
    Mixed-Same less Mixed-Rand.

    Args:
        head_root: the linear probe is fitted on ``train/<class>/*`` below this folder, by default ``original/`` of the
            data; then its classes must be those of the variations.
        class_map: JSON file from the classes of ``head_root``, an ImageNet-1k, to those of the variations, or -1; a
            prediction of a class that maps to -1 is an error.

    Options: :class:`~.frozen.FrozenFeatures`.
    """
    check_variations(variations)
    if class_map is not None and head_root is None:
        raise ValueError('class_map is for a head that other classes are learned with: give their folder as head_root')
    frozen = FrozenFeatures(config, checkpoint, **options)
    if not data_root:
        raise ValueError(f'ImageNet-9 needs a folder of {LAYOUT} (--data ROOT)')
    datasets = build_variations(frozen.config, data_root, variations)
    classes = datasets[variations[0]].metainfo['classes']
    train_root = Path(head_root or Path(data_root) / 'original')
    if not (train_root / 'train').is_dir():
        raise ValueError(
            f'{train_root} has no folder train/, on which the head is fitted: give a folder with train/<class>/* '
            f'(--head-root), such as ImageNet-1k with --class-map'
        )
    whole = whole_pipeline(frozen.config)
    train_pipeline = whole if head_root is None else eval_pipeline(frozen.config)
    train = build_labelled(train_pipeline, train_root, split='train')
    mapping = None
    if class_map is not None:
        mapping = read_class_map(class_map, len(train.metainfo['classes']), len(classes))
    elif tuple(train.metainfo['classes']) != tuple(classes):
        raise ValueError(
            f'{train_root}/train has {len(train.metainfo["classes"])} classes, which are not the {len(classes)} of the '
            f'variations ({", ".join(classes[:3])}, ...); give the file that maps them (--class-map)'
        )

    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        gallery = splits['train']
        head, penalty, _ = fit_linear_probe(
            gallery.features, gallery.labels, len(train.metainfo['classes']), device=frozen.device
        )
        accuracy = {
            name: mapped_accuracy(head.logits(splits[name].features).argmax(1).cpu(), splits[name].labels, mapping)
            for name in variations
        }
        gap = bg_gap(accuracy)
        return dict(accuracy=accuracy, **({} if gap is None else {GAP: gap})), dict(penalty=penalty)

    images = {name: Images(dataset, whole) for name, dataset in datasets.items()}
    with frozen:
        rows = frozen.rows(dict(train=Images(train, train_pipeline), **images), score)
        return dict(
            config=str(frozen.config.filename),
            checkpoint=str(frozen.checkpoint),
            data=dict(
                root=str(data_root),
                classes=len(classes),
                train_images=frozen.counts['train'],
                images={name: frozen.counts[name] for name in variations},
                chance=100 / len(classes),
            ),
            settings=dict(
                variations=list(variations), head_root=str(train_root), class_map=class_map and str(class_map)
            ),
            rows=rows,
        )


def backgrounds_tables(report: Mapping[str, Any]) -> list[Table]:
    data, settings = report['data'], report['settings']
    variations = settings['variations']
    with_gap = GAP in report['rows'][0]
    rows = [
        [
            row_name(row),
            row['feature'],
            *(cell(row['accuracy'], name) for name in variations),
            *([cell(row, GAP)] if with_gap else []),
        ]
        for row in report['rows']
    ]
    notes = [
        f'{data["root"]}: {data["classes"]} classes, {max(data["images"].values())} images of each variation, chance '
        f'{data["chance"]:.1f} %',
        f'accuracy in %; linear probe of {data["train_images"]} images of {settings["head_root"]}/train; BG-Gap: '
        f'mixed_same less mixed_rand; +- over seeds',
    ]
    header = ['', 'feature', *variations, *(['BG-Gap'] if with_gap else [])]
    return [Table('Objects before other backgrounds', header, rows, notes)]


def add_backgrounds_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--variations', nargs='+', default=VARIATIONS, metavar='NAME', help='default: all eight')
    group.add_argument(
        '--head-root',
        type=Path,
        metavar='DIR',
        help='the head is fitted on train/<class>/* of this folder (default: original/ of the data)',
    )
    group.add_argument(
        '--class-map',
        type=Path,
        metavar='FILE.json',
        help='from the classes of --head-root, an ImageNet-1k, to the nine, -1 for none (in_to_in9.json)',
    )
    add_feature_options(group)


PROTOCOL = Protocol(
    name='backgrounds',
    summary='ImageNet-9: accuracy where objects stand before other backgrounds',
    run=evaluate_backgrounds,
    tables=backgrounds_tables,
    add_options=add_backgrounds_options,
    layout=LAYOUT,
    reads=(('original/train',),),
    subfolder='backgrounds',
)
