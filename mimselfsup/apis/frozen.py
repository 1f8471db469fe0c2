"""Features of a checkpoint and of its baselines, extracted once for whichever protocols ask for them."""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import TypedDict, Unpack

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
    PROTOTYPE,
    Features,
    collect_features,
    encode_features,
    parse_feature,
    raw_pixel_features,
)
from mimselfsup.models.algorithms import SelfDistillation

from .model import load_config, load_model, without_pretrained
from .protocol import Table, mean_and_spread

LABELLED = 'train/<class>/*, val/<class>/*'
PIXELS = 'pixels'

Splits = Mapping[str, Features]
Score = Callable[[str, Splits], tuple[dict[str, Any], dict[str, Any]]]


class FrozenOptions(TypedDict, total=False):
    """What every protocol of frozen features takes beside its own options; see :class:`FrozenFeatures`."""

    seeds: Sequence[int]
    features: Sequence[str] | None
    pixel_size: int
    batch_size: int
    workers: int
    device: torch.device | str
    cfg_options: Mapping[str, Any] | None
    cache: str | Path | Literal[False] | None
    progress: bool


@dataclass(frozen=True)
class Images:
    """A data set and its transforms; and one that holds all of its images, whose features will do if they are there
    already."""

    dataset: Dataset
    pipeline: Sequence[Mapping[str, Any]]
    within: Dataset | None = None


@dataclass(frozen=True)
class _Network:
    """Where features come from. ``identity`` and ``settings`` tell it from all others; ``build`` is only called where
    something is missing."""

    identity: str
    settings: Any
    extract: Callable[[], Callable[[dict, Sequence[str]], Mapping[str, Tensor]]]


class FrozenFeatures:
    """The checkpoint, the same model at random initialisation (once per seed) and raw pixels, as features.

    A context: without a cache the features lie in a temporary folder until it ends.

    Args:
        seeds: of the random initialisations; empty for no baselines at all.
        features: names for :func:`~mimselfsup.evaluation.features.parse_feature`; by default [CLS] token and mean of
            the patch tokens, as far as the backbone has them.
        pixel_size: short side of the pictures of the raw-pixel baseline.
        cache: folder for features; None is ``features/`` beside the checkpoint, False keeps none.
    """

    def __init__(
        self,
        config: Config | str | Path,
        checkpoint: str | Path,
        *,
        seeds: Sequence[int] = (0, 1, 2),
        features: Sequence[str] | None = None,
        pixel_size: int = 32,
        batch_size: int = 64,
        workers: int = 2,
        device: torch.device | str = 'cpu',
        cfg_options: Mapping[str, Any] | None = None,
        cache: str | Path | Literal[False] | None = None,
        progress: bool = True,
    ) -> None:
        if pixel_size < 1:
            raise ValueError(f'pixel_size={pixel_size}, must be at least 1')
        for name in features or ():
            parse_feature(name)
        if features is not None and not features:
            raise ValueError('no feature: name one or more, such as cls, avg, cls4 or cls+avg; or leave the choice out')
        if not Path(checkpoint).is_file():
            raise ValueError(f'checkpoint {checkpoint}: no such file')
        self.config = load_config(config, cfg_options)
        self.checkpoint = Path(checkpoint)
        self.seeds, self.pixel_size = tuple(seeds), pixel_size
        self.batch_size, self.workers, self.device, self.progress = batch_size, workers, device, progress
        self._features = None if features is None else tuple(features)
        self._cache = cache
        self._model: BaseModel | None = None
        self._random: tuple[int, BaseModel] | None = None  # the last one
        self.counts: dict[str, int] = {}  # of the images, by the name they were asked for under; without broken ones

    def __enter__(self) -> 'FrozenFeatures':
        self._scratch = tempfile.mkdtemp(prefix='mimselfsup-features-') if self._cache is False else None
        self._store = FeatureCache(self._scratch or self._cache or self.checkpoint.parent / 'features')
        self._code, self._listings = code_hash(), {}
        self._weights = file_hash(self.checkpoint)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def model(self, seed: int | None = None) -> BaseModel:
        """The checkpoint's, or with ``seed`` that of a random initialisation."""
        if seed is None:
            if self._model is None:
                self._model = load_model(self.config, self.checkpoint, self.device)
            return self._model
        if self._random is None or self._random[0] != seed:
            self._random = seed, load_model(without_pretrained(self.config), device=self.device, seed=seed)
        return self._random[1]

    @property
    def features(self) -> tuple[str, ...]:
        """The names asked for, or all that the backbone has."""
        if self._features is None:
            self._features = FEATURES if getattr(self.model().backbone, 'with_cls_token', False) else ('avg',)
        return self._features

    def rows(
        self, images: Mapping[str, Images], score: Score, pixels: bool = True, prototypes: bool = False
    ) -> list[dict[str, Any]]:
        """Rows of a report, one for each feature of the checkpoint, of random init (mean and spread) and raw pixels.

        ``score`` gets the name of a feature and the features of the ``images`` under their names, and gives numbers,
        which are averaged over seeds, and what else is to stand in the row of a single model. With ``prototypes`` they
        are a feature too, where the algorithm trains them.
        """
        kinds = (*self.features, PROTOTYPE) if prototypes and self.has_prototypes else self.features
        found = self.of_model(images, kinds)
        rows = []
        for kind in kinds:
            numbers, details = score(kind, found[kind])
            rows.append(dict(model='pre-trained', feature=kind, **numbers, **details))
        if not self.seeds:
            return rows
        by_kind: dict[str, list] = {kind: [] for kind in kinds}
        for seed in self.seeds:
            found = self.of_model(images, kinds, seed)
            for kind in kinds:
                by_kind[kind].append(score(kind, found[kind])[0])
        for kind, runs in by_kind.items():
            rows.append(dict(model='random init', feature=kind, seeds=list(self.seeds), **mean_and_spread(runs)))
        if pixels:
            splits = self.of_pixels(images)
            numbers, details = score(PIXELS, splits)
            width = next(iter(splits.values())).features.shape[1]
            rows.append(dict(model='raw pixels', feature=f'{width} values', **numbers, **details))
        return rows

    @property
    def has_prototypes(self) -> bool:
        return isinstance(self.model(), SelfDistillation)

    def of_model(
        self, images: Mapping[str, Images], kinds: Sequence[str], seed: int | None = None
    ) -> dict[str, dict[str, Features]]:
        """{kind: {name of the images: features}} of the checkpoint, or with ``seed`` of a random initialisation."""
        network = _Network(
            f'checkpoint {self._weights}' if seed is None else f'random init {seed}',
            dict(model=self.config.model.to_dict()),
            lambda: lambda batch, kinds: encode_features(self.model(seed), batch, kinds),
        )
        return self._collect(network, images, kinds)

    def of_pixels(self, images: Mapping[str, Images]) -> dict[str, Features]:
        def extract(batch: dict, kinds: Sequence[str]) -> dict[str, Tensor]:
            inputs = self.model().data_preprocessor(batch, False)['inputs']
            return {PIXELS: raw_pixel_features(inputs, self.pixel_size)}

        settings = dict(data_preprocessor=dict(self.config.model.get('data_preprocessor') or {}))
        network = _Network(f'raw pixels {self.pixel_size}', settings, lambda: extract)
        return self._collect(network, images, (PIXELS,))[PIXELS]

    def _collect(
        self, network: _Network, images: Mapping[str, Images], kinds: Sequence[str]
    ) -> dict[str, dict[str, Features]]:
        found: dict[str, dict[str, Features]] = {kind: {} for kind in kinds}
        for name, item in images.items():
            missing = []
            for kind in kinds:
                stored = self._store.load(self._key(network, kind, item))
                if stored is None and item.within is not None:
                    stored = self._store.load(self._key(network, kind, replace(item, dataset=item.within)))
                    stored = None if stored is None else _only(stored, item.dataset)
                if stored is None:
                    missing.append(kind)
                else:
                    found[kind][name] = stored
            if missing:
                for kind, values in self._extract(network, name, item, missing).items():
                    found[kind][name] = values
            self.counts[name] = len(found[kinds[0]][name].paths)
        return found

    def _extract(self, network: _Network, name: str, item: Images, kinds: Sequence[str]) -> dict[str, Features]:
        keys = {kind: self._key(network, kind, item) for kind in kinds}
        folders = {kind: self._store.start(key) for kind, key in keys.items()}
        extract = network.extract()
        fresh = collect_features(
            build_eval_loader(item.dataset, self.batch_size, self.workers),
            lambda batch: extract(batch, kinds),
            f'{network.identity[:20]} {name}',
            self.progress,
            folders,
        )
        for kind, values in fresh.items():
            self._store.finish(keys[kind], values)
        return fresh

    def _key(self, network: _Network, kind: str, item: Images) -> dict[str, Any]:
        if item.dataset not in self._listings:
            self._listings[item.dataset] = listing_hash(item.dataset)
        return dict(
            code=self._code,
            pipeline=item.pipeline,
            weights=network.identity,
            settings=network.settings,
            images=self._listings[item.dataset],
            feature=kind,
        )


def _only(features: Features, dataset: Dataset) -> Features:
    wanted = {dataset.get_data_info(index)['img_path'] for index in range(len(dataset))}
    return features.rows(torch.tensor([index for index, path in enumerate(features.paths) if path in wanted]))


@contextmanager
def labelled_features(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None,
    labels: str | Path | None = None,
    per_class: int | None = None,
    **options: Unpack[FrozenOptions],
) -> Iterator[tuple[FrozenFeatures, dict[str, Images]]]:
    """Features, and the labelled images of train/ and val/ below ``data_root`` (by default the config's).

    ``labels``: a list of the training images that are learned from; ``per_class``: only so many of each class are
    needed.
    """
    frozen = FrozenFeatures(config, checkpoint, **options)
    data_root = data_root or default_data_root(frozen.config)
    problem = missing_splits(data_root)
    if problem:
        raise ValueError(f'{problem}; labelled images are needed as train/<class>/* and val/<class>/* (--data ROOT)')
    train, val = build_eval_datasets(frozen.config, data_root)
    pipeline = eval_pipeline(frozen.config)
    images = dict(train=Images(train, pipeline), val=Images(val, pipeline))
    if labels is not None or per_class is not None:
        some = build_eval_datasets(frozen.config, data_root, labels, per_class)[0]
        images['train'] = Images(some, pipeline, within=train)
    with frozen:
        yield frozen, images


def labelled_report(
    frozen: FrozenFeatures, images: Mapping[str, Images], rows: list[dict[str, Any]], **settings: Any
) -> dict[str, Any]:
    """The report of a protocol over train/ and val/."""
    classes = len(images['train'].dataset.metainfo['classes'])
    return dict(
        config=str(frozen.config.filename),
        checkpoint=str(frozen.checkpoint),
        data=dict(
            root=str(images['val'].dataset.data_root),
            classes=classes,
            train_images=frozen.counts['train'],
            val_images=frozen.counts['val'],
            chance=100 / classes,
        ),
        settings=settings,
        rows=rows,
    )


Column = Callable[[Mapping[str, Any]], str]


def feature_table(
    title: str, report: Mapping[str, Any], columns: Mapping[str, Column], notes: Sequence[str] = ()
) -> Table:
    """A line for each row of a report, by model and feature; ``columns``: from a row to the text of a cell."""
    rows = [[row_name(row), row['feature'], *(text(row) for text in columns.values())] for row in report['rows']]
    return Table(title, ['', 'feature', *columns], rows, [data_note(report['data']), *notes])


def row_name(row: Mapping[str, Any]) -> str:
    seeds = len(row.get('seeds', ()))
    return f'{row["model"]} ({seeds} seeds)' if seeds > 1 else row['model']


def data_note(data: Mapping[str, Any]) -> str:
    return (
        f'{data["root"]}: {data["train_images"]} training and {data["val_images"]} validation images, '
        f'{data["classes"]} classes, chance {data["chance"]:.1f} %'
    )


def labels_note(report: Mapping[str, Any]) -> list[str]:
    labels = report['settings']['labels']
    return [f'learned from: {labels}'] if labels else []


def add_feature_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--feature',
        dest='features',
        nargs='+',
        metavar='NAME',
        help='cls, avg (mean of the patch tokens), cls4 ([CLS] of the last 4 blocks), cls+avg, ...; default: cls, avg',
    )
    group.add_argument('--pixel-size', type=int, default=32, help='short side, in the raw-pixel baseline (default: 32)')
    group.add_argument('--cache', type=Path, metavar='DIR', help='default: features/ beside the checkpoint')


def add_labels_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--labels',
        type=Path,
        metavar='LIST',
        help='text list of the training images that may be learned from, <class>/<file> or <file> a line '
        "(SimCLR's 1 and 10 percent); default: all",
    )
