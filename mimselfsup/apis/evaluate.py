"""Frozen-feature protocols for a checkpoint, beside the baselines that say what the numbers are worth."""

import dataclasses
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from mimselfsup.evaluation.cache import FeatureCache, code_hash, file_hash, listing_hash
from mimselfsup.evaluation.data import (
    build_eval_datasets,
    build_eval_loader,
    default_data_root,
    eval_pipeline,
    missing_splits,
)
from mimselfsup.evaluation.features import (
    FEATURES,
    Features,
    collect_features,
    encode_features,
    raw_pixel_features,
)
from mimselfsup.evaluation.knn import (
    DEFAULT_KS,
    DEFAULT_TEMPERATURE,
    best_k,
    check_temperature,
    clip_ks,
    knn_classify,
)
from mimselfsup.evaluation.linear import linear_probe

from .model import load_config, load_model, without_pretrained

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
        data_root: folder with ``train/<class>/`` (the gallery) and ``val/<class>/``; the config's by default.
        features: of 'cls', 'avg'; by default all that the backbone has.
        seeds: of the random initialisations; empty for no baselines at all.
        pixel_size: short side of the pictures of the raw-pixel baseline.
        cache: folder for features; None keeps none.

    Returns a description that goes into a JSON file: ``rows`` hold the accuracies in percent.
    """
    config = load_config(config, cfg_options)
    if not protocols:
        raise ValueError(f'no protocol: name one or more of {", ".join(PROTOCOLS)}')
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f'protocol {protocol!r}: must be one of {", ".join(PROTOCOLS)}')
    if 'knn' in protocols:
        clip_ks(ks, 1)
        check_temperature(temperature)
    if pixel_size < 1:
        raise ValueError(f'pixel_size={pixel_size}, must be at least 1')
    if not Path(checkpoint).is_file():
        raise ValueError(f'checkpoint {checkpoint}: no such file')
    data_root = data_root or default_data_root(config)
    problem = missing_splits(data_root)
    if problem:
        raise ValueError(
            f'{problem}; k-NN and linear probe need labelled images as train/<class>/* and val/<class>/* (--data ROOT)'
        )
    model = load_model(config, checkpoint, device)
    datasets = dict(zip(('train', 'val'), build_eval_datasets(config, data_root), strict=True))
    num_classes = len(datasets['train'].metainfo['classes'])
    if features is None:
        features = _available_features(model, datasets['val'])

    listings = {split: listing_hash(dataset) for split, dataset in datasets.items()}
    base_key = dict(code=code_hash(), pipeline=eval_pipeline(config))
    scratch = None if cache else tempfile.mkdtemp(prefix='mimselfsup-features-')
    store = FeatureCache(cache or scratch)

    def collect(
        weights: str,
        kinds: Sequence[str],
        settings: Any,
        build: Callable[[], Callable[[dict], Mapping[str, Tensor]]],
    ) -> dict[str, dict[str, Features]]:
        """{kind: {split: Features}}; ``build`` is called only if something is not in the cache."""
        found: dict[str, dict[str, Features]] = {kind: {} for kind in kinds}
        extract = None
        for split, dataset in datasets.items():
            key = dict(base_key, weights=weights, settings=settings, images=listings[split], split=split)
            keys = {kind: dict(key, feature=kind) for kind in kinds}
            missing = []
            for kind in kinds:
                stored = store.load(keys[kind])
                if stored is None:
                    missing.append(kind)
                else:
                    found[kind][split] = stored
            if not missing:
                continue
            extract = extract or build()
            folders = {kind: store.start(keys[kind]) for kind in missing}

            def only_missing(batch: dict, extract=extract, missing=tuple(missing)) -> dict[str, Tensor]:
                return {kind: values for kind, values in extract(batch, missing).items() if kind in missing}

            loader = build_eval_loader(dataset, batch_size, workers)
            fresh = collect_features(loader, only_missing, f'{weights[:20]} {split}', progress, folders)
            for kind, values in fresh.items():
                store.finish(keys[kind], values)
                found[kind][split] = values
        return found

    def score(splits: Mapping[str, Features]) -> dict[str, Any]:
        gallery, queries = splits['train'], splits['val']
        result: dict[str, Any] = {}
        if 'knn' in protocols:
            result['knn'] = knn_classify(
                gallery.features, gallery.labels, queries.features, queries.labels, ks, temperature, device
            )
        if 'linear' in protocols:
            probe = linear_probe(gallery.features, gallery.labels, queries.features, queries.labels, device=device)
            result['linear'] = dataclasses.asdict(probe)
        return result

    model_settings = dict(model=config.model.to_dict())
    try:
        rows = []
        found = collect(
            f'checkpoint {file_hash(checkpoint)}',
            features,
            model_settings,
            lambda: lambda batch, kinds: encode_features(model, batch, kinds),
        )
        images = {split: len(values.paths) for split, values in next(iter(found.values())).items()}
        rows += [dict(model='pre-trained', feature=kind, **score(found[kind])) for kind in features]
        if seeds:
            by_feature: dict[str, list] = {kind: [] for kind in features}
            for seed in seeds:
                found = collect(f'random init {seed}', features, model_settings, _random_init(config, seed, device))
                for kind in features:
                    by_feature[kind].append(score(found[kind]))
            rows += [
                dict(model='random init', feature=kind, seeds=list(seeds), **_mean_and_spread(results))
                for kind, results in by_feature.items()
            ]
            found = collect(
                f'raw pixels {pixel_size}',
                ('pixels',),
                dict(data_preprocessor=dict(config.model.get('data_preprocessor') or {})),
                lambda: lambda batch, kinds: dict(pixels=_pixels(model, batch, pixel_size)),
            )
            values = found['pixels']['train'].features.shape[1]
            rows.append(dict(model='raw pixels', feature=f'{values} values', **score(found['pixels'])))
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    return dict(
        config=str(config.filename),
        checkpoint=str(checkpoint),
        data=dict(
            root=str(data_root),
            classes=num_classes,
            train_images=images['train'],
            val_images=images['val'],
            chance=100 / num_classes,
        ),
        protocols=list(protocols),
        temperature=temperature,
        rows=rows,
    )


def format_table(report: Mapping[str, Any]) -> str:
    """One aligned text table of :func:`evaluate_checkpoint`'s report; top-1 in percent unless it says top-5."""
    data = report['data']
    lines = [
        f'{data["root"]}: {data["train_images"]} training and {data["val_images"]} validation images, '
        f'{data["classes"]} classes, chance {data["chance"]:.1f} %',
        'accuracy in %, top-1 unless stated; +- is the standard deviation over seeds',
    ]
    header, body = ['', 'feature'], []
    rows = report['rows']
    ks = sorted(int(k) for k in rows[0].get('knn', {}))
    header += [f'k-NN {k}' for k in ks]
    with_top5 = data['classes'] > 5
    if ks and with_top5:
        header.append('top-5 (k)')
    if 'linear' in rows[0]:
        header += ['linear', 'top-5'] if with_top5 else ['linear']
    for row in rows:
        seeds = len(row.get('seeds', ()))
        name = f'{row["model"]} ({seeds} seeds)' if seeds > 1 else row['model']
        cells = [name, row['feature']]
        if ks:
            knn = {int(k): values for k, values in row['knn'].items()}  # JSON has made strings of them
            cells += [_cell(knn[k], 'top1') for k in ks]
            if with_top5:
                best = best_k(knn)
                cells.append(f'{knn[best]["top5"]:.1f} ({best})')
        if 'linear' in row:
            cells.append(_cell(row['linear'], 'top1'))
            if with_top5:
                cells.append(_cell(row['linear'], 'top5'))
        body.append(cells)
    widths = [max(len(cells[column]) for cells in [header, *body]) for column in range(len(header))]
    for cells in [header, ['-' * width for width in widths], *body]:
        aligned = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append('  '.join(aligned).rstrip())
    return '\n'.join(lines)


def _cell(values: Mapping[str, float], name: str) -> str:
    spread = values.get(f'{name}_std')
    return f'{values[name]:.1f}' if spread is None else f'{values[name]:.1f} +- {spread:.1f}'


def _mean_and_spread(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of equal trees of numbers: the mean of each leaf ``x``, and for two or more trees ``x_std`` (n - 1)."""
    merged: dict[str, Any] = {}
    for name, value in results[0].items():
        if isinstance(value, Mapping):
            merged[name] = _mean_and_spread([result[name] for result in results])
        elif name in ('top1', 'top5'):
            values = [result[name] for result in results]
            merged[name] = statistics.fmean(values)
            if len(values) > 1:
                merged[f'{name}_std'] = statistics.stdev(values)
    return {name: value for name, value in merged.items() if value != {}}


def _available_features(model: BaseModel, dataset) -> tuple[str, ...]:
    batch = next(iter(build_eval_loader(dataset, batch_size=1, workers=0)))
    try:
        encode_features(model, batch, FEATURES)
    except ValueError:
        return ('avg',)
    return FEATURES


def _random_init(config: Config, seed: int, device: torch.device | str):
    def build():
        model = load_model(without_pretrained(config), device=device, seed=seed)
        return lambda batch, kinds: encode_features(model, batch, kinds)

    return build


def _pixels(model: BaseModel, batch: dict, size: int) -> Tensor:
    return raw_pixel_features(model.data_preprocessor(batch, False)['inputs'], size)
