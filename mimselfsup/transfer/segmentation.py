"""What semantic segmentation needs beside mmseg. Imported when a config of mmseg is read: that takes seconds."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.datasets import BaseSegDataset
from mmseg.models import EncoderDecoder
from torch import Tensor

from mimselfsup.datasets.class_names import read_class_names
from mimselfsup.datasets.label_maps import VOID, wrong_labels
from mimselfsup.datasets.sample_errors import NamedSamples, SampleError, check_files
from mimselfsup.datasets.transforms import RandomResizedCrop
from mimselfsup.models.algorithms.frozen_backbone import FrozenBackbone
from mimselfsup.registry import DATASETS, MODELS, TRANSFORMS


@MODELS.register_module()
class LinearSegmentor(FrozenBackbone, EncoderDecoder):
    """mmseg's segmentor, of which only the heads (and a neck) are trained. What makes it linear is its head:
    ``FCNHead`` without convolutions and without dropout.

    To read an inner block, build a backbone that ends there, with ``final_norm=False``: loading leaves out what lies
    behind, and nothing is computed in vain.
    """

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            features = self.backbone(inputs)
        return self.neck(features) if self.with_neck else features


@DATASETS.register_module()
class SegmentationFileDataset(NamedSamples, BaseSegDataset):
    """mmseg's data set with the classes that ``<data_root>/classes.txt`` lists, a line each, by their labels.

    For worlds of scenes and other people's files, in the folders and with the suffixes of any data set.

    Args:
        num_classes: how many there should be; None: as many as there are. The tools set it, and that of the heads, by
            the file. Raises ValueError if there are others, or no file.
    """

    def __init__(self, *args, data_root: str, num_classes: int | None = None, **kwargs) -> None:
        path = Path(data_root) / 'classes.txt'
        if not path.is_file():
            raise ValueError(
                f'{path} does not exist: one name of a class a line, in the order of the labels; tools/make_scenes.py '
                f'--layouts ade20k cityscapes voc writes it with the rest'
            )
        names = read_class_names(path)
        if num_classes not in (None, len(names)):
            raise ValueError(
                f'{path} has {len(names)} classes ({", ".join(names[:4])}, ...), but the config is for '
                f'num_classes={num_classes}, which stands in the data sets and in the heads'
            )
        pipeline = []
        for step in kwargs.pop('pipeline', ()):
            pipeline.append(step)
            if isinstance(step, dict) and step.get('type') == 'LoadAnnotations':
                pipeline.append(dict(type='mimselfsup.CheckLabels', num_classes=len(names)))
        super().__init__(*args, data_root=data_root, metainfo=dict(classes=names), pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        found = super().load_data_list()
        if not self.backend_args:
            for key in ('img_path', 'seg_map_path'):
                check_files([each[key] for each in found if each.get(key)], f'{self.data_root} should have as {key}')
        return found


@TRANSFORMS.register_module()
class CheckLabels(BaseTransform):
    """Raises SampleError for a label map of colours, of values that are no class, or of another size than its picture.

    A loss tells the second as an index out of range, a score not at all.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        labels, path = results['gt_seg_map'], results['seg_map_path']
        if labels.ndim != 2:
            raise SampleError(f'{path}: {labels.shape[2]} channels, label maps have one')
        size = results.get('ori_shape', labels.shape)
        if labels.shape != tuple(size):
            raise SampleError(f'{path} has {labels.shape} pixels (height, width), its picture {tuple(size)}')
        first = int(results.get('reduce_zero_label', False))  # 1 has become 0 then
        wrong = wrong_labels(np.where(labels == VOID, VOID, labels + first), self.num_classes, first)
        if wrong:
            raise SampleError(f'{path} {wrong}')
        return results


@TRANSFORMS.register_module()
class RandomResizedCropWithLabels(RandomResizedCrop):
    """:class:`~mimselfsup.datasets.transforms.RandomResizedCrop` of a picture and its label maps, these by the nearest
    pixel. Raises ValueError if they are not of one size."""

    def transform(self, results: dict) -> dict:
        results = super().transform(results)
        results['img_shape'] = results['img'].shape[:2]
        top, left, height, width = results['crop_box']
        for key in results['seg_fields']:
            if results[key].shape[:2] != results['crop_source']:
                raise ValueError(
                    f'{results.get("seg_map_path", key)} has {results[key].shape[:2]} pixels (height, width), its '
                    f'picture {results.get("img_path", "")} {results["crop_source"]}'
                )
            labels = results[key][top : top + height, left : left + width]
            results[key] = mmcv.imresize(labels, self.scale[::-1], interpolation='nearest', backend=self.backend)
        return results


@TRANSFORMS.register_module()
class ResizeLabels(BaseTransform):
    """Resizes the label maps alone, by the nearest pixel (floor, as torch's), to ``scale`` = (width, height).

    mmseg's heads resize their logits to the labels, so this is the grid of the loss.
    """

    def __init__(self, scale: tuple[int, int]) -> None:
        self.scale = tuple(scale)

    def transform(self, results: dict) -> dict:
        for key in results['seg_fields']:
            results[key] = mmcv.imresize(results[key], self.scale, interpolation='nearest')
        return results


@TRANSFORMS.register_module()
class ScoreAtThisSize(BaseTransform):
    """The picture's size, as it is here, becomes the one at which predictions are scored. mmseg resizes logits to the
    size of the file, so the label map has to be loaded before the picture is resized, with it.
    """

    def transform(self, results: dict) -> dict:
        results['ori_shape'] = results['img_shape'][:2]
        return results
