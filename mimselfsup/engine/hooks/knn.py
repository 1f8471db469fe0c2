"""k-NN accuracy while the model trains."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset, Subset

from mimselfsup.evaluation.data import (
    build_eval_datasets,
    build_eval_loader,
    default_data_root,
    missing_splits,
)
from mimselfsup.evaluation.features import Features, collect_features, encode_features, parse_feature
from mimselfsup.evaluation.knn import DEFAULT_TEMPERATURE, clip_ks, knn_accuracy, nearest_neighbours
from mimselfsup.registry import HOOKS

from .generators import generators_untouched
from .run_state import model_of


@HOOKS.register_module()
class KNNHook(Hook):
    """Scores the current backbone by weighted k-NN every ``interval`` epochs and after the last one.

    ``data_root/train/<class>/*`` is the gallery, ``data_root/val/<class>/*`` is classified; the folder is that of
    the training data unless given. Without such folders the hook says so once and does nothing. It changes nothing
    in the training: module modes and the states of all random generators are put back.

    Each rank holds the features of its share of the gallery. Values go to the log and to every visualizer
    backend as ``knn/top1_k<k>`` and ``knn/top5_k<k>``, in percent.

    Args:
        feature: 'avg', the mean of the patch tokens, 'cls', or another name that ``parse_feature`` knows.
        batch_size: per rank.
        workers: loader processes per rank.
    """

    priority = 'BELOW_NORMAL'

    def __init__(
        self,
        interval: int,
        data_root: str | None = None,
        feature: str = 'avg',
        ks: Sequence[int] = (10, 20),
        temperature: float = DEFAULT_TEMPERATURE,
        batch_size: int = 64,
        workers: int = 2,
    ) -> None:
        if interval < 1:
            raise ValueError(f'KNNHook: interval={interval}, must be at least 1; it counts epochs')
        parse_feature(feature)
        self.interval = interval
        self.data_root = data_root
        self.feature = feature
        self.ks = tuple(ks)
        self.temperature = temperature
        self.batch_size = batch_size
        self.workers = workers
        self._datasets = None

    def before_train(self, runner: Runner) -> None:
        data_root = self.data_root or default_data_root(runner.cfg)
        problem = missing_splits(data_root)
        if problem:
            runner.logger.info(f'KNNHook: off, {problem} (wanted: train/<class>/* and val/<class>/*)')
            return
        with generators_untouched():
            train, val = build_eval_datasets(runner.cfg, data_root)
            # One image now, so that what cannot work fails before the training and not hours into it.
            self._features(model_of(runner), Subset(val, [0]), alone=True)
        clip_ks(self.ks, len(train))
        self._datasets = (train, val)

    def after_train_epoch(self, runner: Runner) -> None:
        if self._datasets is None:
            return
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            with generators_untouched():
                self._score(runner)

    def _score(self, runner: Runner) -> None:
        train, val = self._datasets
        model = model_of(runner)
        gallery, queries = self._features(model, train), self._features(model, val)
        finite = all(torch.isfinite(part.features).all() for part in (gallery, queries))
        if not all(all_gather_object(bool(finite))):
            runner.logger.warning('KNNHook: features contain NaN or infinity, nothing scored')
            return
        # Every rank compares all queries with its share of the gallery; the nearest of all shares are what
        # one process would have found.
        all_queries = torch.cat(all_gather_object(queries.features))
        labels = torch.cat(all_gather_object(queries.labels))
        ks = clip_ks(self.ks, sum(all_gather_object(len(gallery.paths))))
        device = next(model.parameters()).device
        similarities, indices = nearest_neighbours(
            gallery.features, all_queries, min(ks[-1], len(gallery.paths)), device=device
        )
        similarities = torch.cat(all_gather_object(similarities), dim=1)
        neighbours = torch.cat(all_gather_object(gallery.labels[indices]), dim=1)
        similarities, order = similarities.sort(dim=1, descending=True, stable=True)
        accuracy = knn_accuracy(similarities, neighbours.gather(1, order), labels, ks, self.temperature)

        scalars = {f'knn/{name}_k{k}': value for k, values in accuracy.items() for name, value in values.items()}
        for name, value in scalars.items():
            runner.message_hub.update_scalar(name, value)
        runner.visualizer.add_scalars(dict(scalars, epoch=runner.epoch + 1), step=runner.iter)
        top1 = '  '.join(f'k={k} {values["top1"]:.2f}' for k, values in accuracy.items())
        runner.logger.info(f'k-NN({runner.epoch + 1})  top-1 [%]: {top1}  ({self.feature}, {len(labels)} images)')

    def _features(self, model: BaseModel, dataset: Dataset, alone: bool = False) -> Features:
        rank, world_size = (0, 1) if alone else get_dist_info()
        workers = 0 if alone else self.workers
        loader = build_eval_loader(dataset, self.batch_size, workers, rank, world_size)
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            found = collect_features(
                loader, lambda batch: encode_features(model, batch, (self.feature,)), progress=False
            )
        finally:
            for module, training in modes.items():
                module.training = training
        return found[self.feature]
