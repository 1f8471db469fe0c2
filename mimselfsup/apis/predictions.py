"""Predictions of fine-tuned detectors and segmentors beside the truth, of several pre-trainings side by side."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope

from mimselfsup.datasets.label_maps import resize_label_map
from mimselfsup.engine.checkpoint import fitting_arguments, load_weights, read_backbone
from mimselfsup.engine.class_counts import set_class_counts
from mimselfsup.engine.data_roots import check_data, set_data_root
from mimselfsup.engine.launch import load_config as read_config
from mimselfsup.engine.validation import check_config
from mimselfsup.registry import DATASETS, MODELS
from mimselfsup.visualization.predictions import BACKGROUND, draw_objects, draw_regions, predictions_figure

from .model import to_device

SCOPES = ('mmdet', 'mmseg')


@dataclass
class FineTuned:
    """A checkpoint of a detector or segmentor. ``name``: what stands above its column."""

    name: str
    config: str | Path
    checkpoint: str | Path


def draw_predictions(
    runs: Sequence[FineTuned],
    data_root: str | Path | None = None,
    number: int = 6,
    seed: int = 0,
    score: float = 0.3,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
) -> Figure:
    """A row for each of ``number`` validation pictures, drawn by ``seed`` from the data of the first run: the picture,
    the truth, and what each run predicts.

    Objects below ``score`` are not drawn. All runs must be for one task, and for data that has these pictures.
    """
    if number < 1:
        raise ValueError(f'--num {number}: must be at least 1')
    configs = [_prepared(run, data_root, cfg_options) for run in runs]
    if len({config.default_scope for config in configs}) > 1:
        raise ValueError('the runs are for several tasks: one page is of detectors (mmdet) or of segmentors (mmseg)')
    first = _validation_data(configs[0])
    drawn = [int(index) for index in np.random.default_rng(seed).permutation(len(first))[:number]]
    paths = [os.path.realpath(first.get_data_info(index)['img_path']) for index in drawn]
    images = [mmcv.imread(path, channel_order='rgb') for path in paths]
    truths = [truth_of(first, index, configs[0].default_scope) for index in drawn]
    columns = [images_as_drawn(images), [_drawn(*each, first.metainfo) for each in zip(images, truths, strict=True)]]
    predicted: list[dict[str, Any]] = []
    for run, config in zip(runs, configs, strict=True):
        data = _validation_data(config)
        places = {os.path.realpath(data.get_data_info(index)['img_path']): index for index in range(len(data))}
        absent = next((path for path in paths if path not in places), None)
        if absent:
            raise ValueError(
                f'{run.config}: {absent} is not among its validation pictures; --data DIR sets them for all'
            )
        model = load_fine_tuned(config, run.checkpoint, device)
        found = [predict(model, data[places[path]], score) for path in paths]
        predicted += found
        columns.append([_drawn(*each, data.metainfo) for each in zip(images, found, strict=True)])
    rows, titles = list(zip(*columns, strict=True)), ['picture', 'ground truth', *(run.name for run in runs)]
    if configs[0].default_scope == 'mmdet':
        return predictions_figure(rows, titles, f'objects scored above {score:g}')
    return predictions_figure(rows, titles, legend=_legend(truths, predicted, first.metainfo))


def load_fine_tuned(config: Config, checkpoint: str | Path, device: torch.device | str = 'cpu') -> BaseModel:
    """The config's detector or segmentor in eval mode, with the weights of ``checkpoint``, which must fit key by key;
    the backbone's config follows it in :func:`~mimselfsup.engine.checkpoint.fitting_arguments`."""
    settings = config.model
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(settings)
        changes = fitting_arguments(model.backbone, read_backbone(checkpoint).state)
        if changes:
            model = MODELS.build({**settings, 'backbone': {**settings.backbone, **changes}})
    surplus = load_weights(model, checkpoint).left_out
    if surplus:
        raise ValueError(f'checkpoint {checkpoint} is of another model: there is no place for {surplus[0]}')
    return model.to(to_device(device)).eval()


@torch.no_grad()
def predict(model: BaseModel, sample: dict, score: float) -> dict[str, Any]:
    """Of one sample of a data set: ``labels`` (H, W) of a segmentor, in the size at which it is scored; in that of its
    picture, of a detector, ``bboxes``, ``labels``, ``scores`` and perhaps ``masks`` of the objects above ``score``."""
    found = model.test_step(pseudo_collate([sample]))[0].cpu()
    if 'pred_sem_seg' in found:
        return dict(labels=found.pred_sem_seg.data[0].numpy())
    objects = found.pred_instances
    objects = objects[objects.scores > score]
    return {key: objects[key] for key in ('bboxes', 'labels', 'scores', 'masks') if key in objects}


def truth_of(dataset: Any, index: int, scope: str) -> dict[str, Any]:
    """What is annotated, in the form of :func:`predict`, whatever the test pipeline does to it."""
    with DefaultScope.overwrite_default_scope(scope):
        if scope == 'mmseg':
            load = Compose([dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
            return dict(labels=load(dataset.get_data_info(index))['data_samples'].gt_sem_seg.data[0].numpy())
        info = dataset.get_data_info(index)
        with_mask = all('mask' in instance for instance in info['instances'])
        load = Compose(
            [
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True, with_mask=with_mask),
                dict(type='PackDetInputs'),
            ]
        )
        objects = load(info)['data_samples'].gt_instances
    truth = dict(bboxes=objects.bboxes.tensor, labels=objects.labels)
    return truth | (dict(masks=objects.masks.to_ndarray()) if with_mask else {})


def images_as_drawn(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """(H, W, 3) uint8 in the size of what is drawn on them."""
    nothing = dict(bboxes=np.zeros((0, 4)), labels=np.zeros(0, int))
    return [draw_objects(image, nothing, ()) for image in images]


def _drawn(image: np.ndarray, found: Mapping[str, Any], meta: Mapping[str, Any]) -> np.ndarray:
    if 'bboxes' in found:
        return draw_objects(image, found, meta['classes'], meta.get('palette'))
    labels = found['labels']
    if labels.shape != image.shape[:2]:  # predicted and scored at another size: ScoreAtThisSize
        labels = resize_label_map(labels.astype(np.uint8), image.shape[:2])
    return draw_regions(image, labels, meta['classes'], meta.get('palette'))


def _legend(
    truths: Sequence[Mapping], predicted: Sequence[Mapping], meta: Mapping[str, Any]
) -> list[tuple[str, Sequence[int]]]:
    """Classes and colours of what is drawn: first what is there, then what is said to be, the largest first."""
    classes = meta['classes']
    there, said = (
        sum(np.bincount(each['labels'].ravel(), minlength=256) for each in maps)[: len(classes)]
        for maps in (truths, predicted)
    )
    order = np.lexsort((-said, -there))
    shown = [label for label in order if there[label] + said[label] and classes[label] != BACKGROUND]
    return [(classes[label], meta['palette'][label]) for label in shown]


def _prepared(run: FineTuned, data_root: str | Path | None, cfg_options: Mapping[str, Any] | None) -> Config:
    config = read_config(run.config, dict(cfg_options or {}))
    if config.get('default_scope') not in SCOPES:
        raise ValueError(
            f'{run.config}: default_scope={config.get("default_scope")!r}; predictions are drawn of configs of '
            f'{" and ".join(SCOPES)}'
        )
    if config.get('val_dataloader') is None:
        raise ValueError(f'{run.config} has no val_dataloader, whose pictures are drawn')
    # Nothing else is built, so nothing else has to be there.
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'test_dataloader', 'test_cfg'):
        config[key] = None
    config.test_evaluator = None
    if data_root:
        set_data_root(config, os.fspath(data_root))
    set_class_counts(config)
    check_config(config)
    check_data(config)
    return config


def _validation_data(config: Config) -> Any:
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return DATASETS.build(config.val_dataloader.dataset)
