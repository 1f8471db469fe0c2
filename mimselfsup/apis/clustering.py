"""Classes without labels: clusters of the validation images against their classes."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from typing_extensions import Unpack

from mimselfsup.evaluation.data import build_labelled, default_data_root, eval_pipeline
from mimselfsup.evaluation.features import PROTOTYPE
from mimselfsup.evaluation.unsupervised import clustering_scores, k_means_clusters

from .frozen import FrozenFeatures, FrozenOptions, Images, Splits, add_feature_options, row_name
from .protocol import Protocol, Table, cell

SCORES = dict(nmi='NMI', ari='ARI', fmi='FMI', accuracy='accuracy', purity='purity')


def evaluate_clustering(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    clusters: int | None = None,
    kmeans_seed: int = 0,
    **options: Unpack[FrozenOptions],
) -> dict[str, Any]:
    """How well clusters of the images of val/ agree with their classes, in percent; no label is learned from.

    A row says by which ``method``: 'prototypes', the strongest prototype of the projector, for what self-distillation
    has trained (iBOT and AttMask report it of a head of 1000); 'k-means', another protocol, of L2-normalised features
    with ``clusters`` centres, by default as many as classes. ``row['clusters']`` are in use.

    Options: :class:`~.frozen.FrozenFeatures`.
    """
    frozen = FrozenFeatures(config, checkpoint, **options)
    data_root = data_root or default_data_root(frozen.config)
    if not data_root or not (Path(data_root) / 'val').is_dir():
        raise ValueError(f'{data_root} has no folder val/; clusters are compared with val/<class>/* (--data ROOT)')
    pipeline = eval_pipeline(frozen.config)
    dataset = build_labelled(pipeline, data_root, split='val')
    classes = len(dataset.metainfo['classes'])
    number = clusters or classes
    if clusters is not None and not 1 <= clusters <= len(dataset):
        raise ValueError(f'clusters={clusters}, must lie in [1, {len(dataset)}], the number of images')

    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        found = splits['val']
        if kind == PROTOTYPE:
            assignments = found.features[:, 0].long()
        else:
            assignments = k_means_clusters(found.features, number, kmeans_seed)
        scores = clustering_scores(assignments, found.labels)
        in_percent = {name: 100 * scores[name] for name in SCORES}
        return dict(in_percent, clusters=float(scores['clusters'])), {}

    with frozen:
        rows = frozen.rows(dict(val=Images(dataset, pipeline)), score, prototypes=True)
        for row in rows:
            row['method'] = 'prototypes' if row['feature'] == PROTOTYPE else 'k-means'
        return dict(
            config=str(frozen.config.filename),
            checkpoint=str(frozen.checkpoint),
            data=dict(root=str(data_root), classes=classes, val_images=frozen.counts['val']),
            settings=dict(clusters=number, kmeans_seed=kmeans_seed),
            rows=rows,
        )


def clustering_tables(report: Mapping[str, Any]) -> list[Table]:
    data = report['data']
    header = ['', 'feature', 'method', *SCORES.values(), 'clusters']
    rows = [
        [
            row_name(row),
            row['feature'],
            row['method'],
            *(cell(row, name) for name in SCORES),
            cell(row, 'clusters', 0),
        ]
        for row in report['rows']
    ]
    notes = [
        f'{data["root"]}: {data["val_images"]} validation images of {data["classes"]} classes; k-means with '
        f'{report["settings"]["clusters"]} centres',
        'in %; accuracy after matching clusters and classes one to one, which leaves clusters over where they are more '
        'than classes; purity rises with the number of clusters; +- over seeds',
    ]
    return [Table('Clusters of frozen features', header, rows, notes)]


def add_clustering_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--clusters', type=int, metavar='N', help='centres of k-means (default: as many as classes)')
    group.add_argument('--kmeans-seed', type=int, default=0)
    add_feature_options(group)


PROTOCOL = Protocol(
    name='clustering',
    summary='clusters of the validation images against their classes, no label learned from',
    run=evaluate_clustering,
    tables=clustering_tables,
    add_options=add_clustering_options,
    layout='val/<class>/*',
    reads=(('val',),),
)
