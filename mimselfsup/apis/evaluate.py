"""k-NN and linear probe of a checkpoint in one report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mimselfsup.evaluation.knn import DEFAULT_KS, DEFAULT_TEMPERATURE

from .frozen import Splits, feature_table, labelled_features, labelled_report
from .knn import knn_columns, knn_score
from .linear import linear_columns, linear_score

PROTOCOLS = ('knn', 'linear')


def evaluate_checkpoint(
    config: Config | str | Path,
    checkpoint: str | Path,
    protocols: Sequence[str] = ('knn',),
    data_root: str | Path | None = None,
    features: Sequence[str] | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    temperature: float = DEFAULT_TEMPERATURE,
    seeds: Sequence[int] = (0, 1, 2),
    pixel_size: int = 32,
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cache: str | Path | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Scores the checkpoint, the same model at random initialisation (one run per seed) and raw pixels.

    Args:
        protocols: of 'knn', 'linear'; all are scored on the same features.
        data_root: folder with ``train/<class>/`` (the gallery) and ``val/<class>/``; the config's by default.
        features: names for :func:`~mimselfsup.evaluation.features.parse_feature`; by default [CLS] token and mean
            of the patch tokens, as far as the backbone has them.
        seeds: of the random initialisations; empty for no baselines at all.
        pixel_size: short side of the pictures of the raw-pixel baseline.
        cache: folder for features; None keeps none.

    Returns a description that goes into a JSON file: ``rows`` hold the accuracies in percent.
    """
    if not protocols:
        raise ValueError(f'no protocol: name one or more of {", ".join(PROTOCOLS)}')
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f'protocol {protocol!r}: must be one of {", ".join(PROTOCOLS)}')
    scores = dict(knn=knn_score(ks, temperature, device), linear=linear_score(device))

    def score(kind: str, splits: Splits) -> tuple[dict[str, Any], dict[str, Any]]:
        numbers: dict[str, Any] = {}
        details: dict[str, Any] = {}
        for protocol in protocols:
            found = scores[protocol](kind, splits)
            numbers |= found[0]
            details |= found[1]
        return numbers, details

    options = dict(
        seeds=seeds,
        features=features,
        pixel_size=pixel_size,
        batch_size=batch_size,
        workers=workers,
        device=device,
        cfg_options=cfg_options,
        cache=cache or False,
        progress=progress,
    )
    with labelled_features(config, checkpoint, data_root, **options) as (frozen, images):
        report = labelled_report(frozen, images, frozen.rows(images, score), ks=list(ks), temperature=temperature)
        return dict(report, protocols=list(protocols), temperature=temperature)


def format_table(report: Mapping[str, Any]) -> str:
    """One aligned text table of :func:`evaluate_checkpoint`'s report; top-1 in percent unless it says top-5."""
    columns = {}
    for name, of in dict(knn=knn_columns, linear=linear_columns).items():
        if name in report['rows'][0]:
            columns |= of(report)
    note = 'accuracy in %, top-1 unless stated; +- is the standard deviation over seeds'
    return str(feature_table('', report, columns, [note])).lstrip('\n')
