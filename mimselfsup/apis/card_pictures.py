"""The pictures of a model card: what a model takes for similar, and where it looks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor
from torch.utils.data import Dataset, Subset

from mimselfsup.evaluation.data import build_eval_datasets, build_eval_loader
from mimselfsup.evaluation.features import FEATURES, Features, collect_features, encode_features, raw_pixel_features
from mimselfsup.visualization.attention import attention_overlay
from mimselfsup.visualization.card import picture_uri

from .attention import attention_of
from .model import load_model, without_pretrained
from .pictures import load_images, pictures_of

NEIGHBOURS = 5
MOST_QUERIES = 24
MOST_IN_GALLERY = 5000  # pictures that neighbours are looked for among; seconds, where all of them may be hours


def check_number(queries: int) -> None:
    if not 0 <= queries <= MOST_QUERIES:
        raise ValueError(f'--pictures {queries}: must be from 0 to {MOST_QUERIES}')


class CardPictures:
    """The queries, of as many classes as there are, and the gallery: for every model of one data folder the same."""

    def __init__(
        self,
        config: Config,
        root: str | Path,
        number: int,
        batch_size: int = 64,
        workers: int = 2,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.config, self.device = config, device
        self.batch_size, self.workers = batch_size, workers
        train, val = build_eval_datasets(config, root)
        self.classes = train.metainfo['classes']
        self.queries = Subset(val, choose_queries(_labels(val), number))
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:MOST_IN_GALLERY]
        self.gallery = Subset(train, sorted(order.tolist()))
        self.of_all = len(train)

    def of_checkpoint(self, checkpoint: str, feature: str | None) -> dict[str, Any]:
        return self._of_model(load_model(self.config, checkpoint, self.device), feature)

    def of_random_init(self, seed: int) -> dict[str, Any]:
        return self._of_model(load_model(without_pretrained(self.config), device=self.device, seed=seed), None)

    def of_pixels(self) -> dict[str, Any]:
        model = load_model(without_pretrained(self.config), device=self.device, seed=0)  # for its preprocessor
        found = self._collect(lambda batch: raw_pixel_features(model.data_preprocessor(batch, False)['inputs']))
        return self._result(found, 'raw pixels', None)

    def _of_model(self, model: BaseModel, feature: str | None) -> dict[str, Any]:
        def extract(batch: dict) -> Tensor:
            return encode_features(model, batch, (feature,))[feature]

        if feature is None:
            batch = next(iter(build_eval_loader(Subset(self.queries, [0]), 1, 0)))
            try:
                encode_features(model, batch, FEATURES)
                feature = 'cls'
            except ValueError:
                feature = 'avg'
        return self._result(self._collect(extract), feature, model)

    def _collect(self, extract: Callable[[dict], Tensor]) -> tuple[Features, Features]:
        loaders = [build_eval_loader(each, self.batch_size, self.workers) for each in (self.queries, self.gallery)]
        queries, gallery = (
            collect_features(loader, lambda batch: dict(found=extract(batch)), progress=False)['found']
            for loader in loaders
        )
        return queries, gallery

    def _result(self, found: tuple[Features, Features], feature: str, model: BaseModel | None) -> dict[str, Any]:
        queries, gallery = found
        result = dict(
            queries=[self._named(path, label) for path, label in zip(queries.paths, queries.labels, strict=True)],
            gallery=dict(shown=len(gallery.paths), of=self.of_all),
            neighbours=dict(feature=feature, rows=self._nearest(queries, gallery)),
            attention=[],
            inputs=[],
        )
        if model is not None and getattr(model.backbone, 'gives_attention', False):
            images = load_images(self.config, queries.paths, model)
            maps, grid = attention_of(model, images)
            shown = pictures_of(model, images)
            result['inputs'] = [picture_uri(picture) for picture in shown]
            result['attention'] = [
                picture_uri(attention_overlay(picture, each.reshape(grid)))
                for picture, each in zip(shown, maps.mean(1).cpu().numpy(), strict=True)
            ]
        return result

    def _nearest(self, queries: Features, gallery: Features) -> list[list[dict[str, Any]]]:
        similarity = F.normalize(queries.features, dim=1) @ F.normalize(gallery.features, dim=1).T
        values, places = similarity.topk(min(NEIGHBOURS, similarity.shape[1]), dim=1)
        return [
            [
                dict(
                    self._named(gallery.paths[place], gallery.labels[place]),
                    cosine=round(value, 4),
                    correct=bool(gallery.labels[place] == label),
                )
                for value, place in zip(of_one, where, strict=True)
            ]
            for of_one, where, label in zip(values.tolist(), places.tolist(), queries.labels, strict=True)
        ]

    def _named(self, path: str, label: Tensor) -> dict[str, str]:
        return dict(path=path, label=self.classes[int(label)])


def choose_queries(labels: Sequence[int], number: int) -> list[int]:
    """Positions, drawn: of every class one before of any a second."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()
    seen: dict[int, int] = {}
    turns = []
    for rank, position in enumerate(order):
        turn = seen[labels[position]] = seen.get(labels[position], -1) + 1
        turns.append((turn, rank, position))
    return [position for _, _, position in sorted(turns)[:number]]


def _labels(dataset: Dataset) -> list[int]:
    return [int(dataset.get_data_info(index)['gt_label']) for index in range(len(dataset))]
