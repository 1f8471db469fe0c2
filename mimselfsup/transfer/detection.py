"""What detection needs beside mmdet. Imported when a config of mmdet is read: that takes seconds."""

import logging

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import FasterCocoMetric as _FasterCocoMetric
from mmengine.fileio import get_local_path
from mmengine.logging import print_log

from mimselfsup.datasets.sample_errors import NamedSamples, check_files
from mimselfsup.registry import DATASETS, METRICS


@DATASETS.register_module()
class CocoFileDataset(NamedSamples, CocoDataset):
    """mmdet's ``CocoDataset`` with the classes that its annotation file lists, in that order.

    For worlds of scenes and other people's files; mmdet's own silently finds nothing where the file's names are not
    those of COCO, leaves out objects of unknown classes and stops at a missing picture when its turn comes.

    Args:
        num_classes: how many there should be; None: as many as there are. The tools set it, and that of the heads, by
            the file. Raises ValueError if there are others.
    """

    where_pictures_lie = ", below data_root and data_prefix['img']"

    def __init__(self, *args, num_classes: int | None = None, **kwargs) -> None:
        self.num_classes = num_classes
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            annotations = self.COCOAPI(path)
        names = tuple(category['name'] for category in annotations.dataset['categories'])
        if self.num_classes not in (None, len(names)):
            raise ValueError(
                f'{self.ann_file} has {len(names)} classes ({", ".join(names[:4])}, ...), but the config is for '
                f'num_classes={self.num_classes}, which stands in the data sets and in the heads'
            )
        self._check_annotations(annotations)
        self._metainfo.update(classes=names, palette=None)
        self.COCOAPI = lambda path: annotations  # the parent's asks for it next; a gigabyte is parsed once
        try:
            found = super().load_data_list()
        finally:
            del self.COCOAPI
        if not self.backend_args:
            check_files([each['img_path'] for each in found], f'{self.ann_file} lists', self.where_pictures_lie)
        return found

    def _check_annotations(self, annotations: COCO) -> None:
        """Raises ValueError for annotations of no image or class, which mmdet passes over, and without what samples
        need, by which a run stops hours later. Boxes beyond their image are a warning, as is nothing to score."""
        images, objects = (annotations.dataset.get(key, []) for key in ('images', 'annotations'))
        if not images:
            raise ValueError(f'{self.ann_file}: "images" is empty')
        for key in ('file_name', 'height', 'width'):
            lacking = [each for each in images if not each.get(key)]
            if lacking:
                raise ValueError(f'{self.ann_file}: image {lacking[0]["id"]} has no {key}; {len(lacking)} are without')
        with_masks = any(getattr(step, 'with_mask', False) for step in self.pipeline.transforms)
        for key in ['category_id', 'bbox', 'area'] + ['segmentation'] * with_masks:
            # An area of 0 is one: mmdet leaves out its object.
            lacking = [each for each in objects if each.get(key) in (None, [], '')]
            if lacking:
                why = ', of which detectors with masks (and LoadAnnotations with_mask=True) learn' if with_masks else ''
                raise ValueError(
                    f'{self.ann_file}: annotation {lacking[0].get("id")} of image {lacking[0].get("image_id")} has no '
                    f'{key}{why if key == "segmentation" else ""}; {len(lacking)} are without'
                )
        for key, known, what in (
            ('category_id', annotations.cats, 'categories'),
            ('image_id', annotations.imgs, 'images'),
        ):
            unknown = [each for each in objects if each[key] not in known]
            if unknown:
                raise ValueError(
                    f'{self.ann_file}: annotation {unknown[0]["id"]} has {key}={unknown[0][key]}, which is not among '
                    f'its {what}; {len(unknown)} of {len(objects)} are such'
                )
        self._warn_of_doubts(annotations)

    def _warn_of_doubts(self, annotations: COCO) -> None:
        beyond = []
        for each in annotations.dataset.get('annotations', []):
            image, (x, y, width, height) = annotations.imgs[each['image_id']], each['bbox']
            # Boxes are often rounded.
            if x < -1 or y < -1 or x + width > image['width'] + 1 or y + height > image['height'] + 1:
                beyond.append(each)
        if beyond:
            print_log(
                f'{self.ann_file}: {len(beyond)} of {len(annotations.dataset["annotations"])} boxes reach beyond their '
                f'image, the first is annotation {beyond[0]["id"]}; bbox is x, y, width, height in pixels',
                'current',
                logging.WARNING,
            )
        if self.test_mode and not annotations.dataset.get('annotations'):
            print_log(f'{self.ann_file} has no annotations: scores will be -1', 'current', logging.WARNING)


@METRICS.register_module()
class FasterCocoMetric(_FasterCocoMetric):
    """mmdet's, which has no score where nothing was detected at all: here it is 0, and -1 for sizes that no object
    has, as elsewhere. (A curve from random weights begins there, and ``save_best`` stops without a score.)"""

    def compute_metrics(self, results: list) -> dict[str, float]:
        scores = super().compute_metrics(results)
        if self.format_only or any(len(prediction['scores']) for _, prediction in results):
            return scores
        areas = [each['area'] for each in self._coco_api.dataset['annotations'] if not each.get('iscrowd')]
        sizes = dict(s=(0, 32**2), m=(32**2, 96**2), l=(96**2, float('inf')))
        for kind in self.metrics:
            for item in self.metric_items or ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'):
                low, high = sizes.get(item.rpartition('_')[2], (0, float('inf')))
                scores[f'{kind}_{item}'] = 0.0 if any(low <= area < high for area in areas) else -1.0
        return scores
