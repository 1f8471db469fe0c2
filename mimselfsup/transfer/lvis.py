"""LVIS without the package ``lvis``: data and metric. Imported when a config of mmdet is read.

That package reads the files and cannot evaluate with numpy 2. pycocotools reads them too, but for the names of
pictures, and faster-coco-eval knows the rules by which LVIS scores.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlparse

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from mmdet.datasets.api_wrappers import COCO as ReadableCOCO
from mmdet.evaluation.metrics import FasterCocoMetric
from mmengine.logging import MMLogger

from mimselfsup.registry import DATASETS, METRICS

from .detection import CocoFileDataset

MAX_DETECTIONS = 300  # of a picture, over all categories
# Scores are means over categories. The evaluation notes something of every pair of picture and category: of all of LVIS
# at once that would be 24 million, 20 GiB.
CATEGORIES_AT_A_TIME = 100
_RESULTS = dict(
    AP='AP_all',
    AP50='AP_50',
    AP75='AP_75',
    APs='AP_small',
    APm='AP_medium',
    APl='AP_large',
    APr='APr',
    APc='APc',
    APf='APf',
)


class _Annotations(ReadableCOCO):
    """pycocotools', where the file of a picture is the tail of its address: http://images.cocodataset.org/val2017/x.jpg
    is val2017/x.jpg."""

    def createIndex(self) -> None:
        for image in self.dataset.get('images', ()):
            image.setdefault('file_name', urlparse(image['coco_url']).path.lstrip('/'))
        super().createIndex()


@DATASETS.register_module()
class LVISDataset(CocoFileDataset):
    """LVIS v1: classes are those of the annotation file, in its order, which is that of mmdet's ``LVISV1Dataset``.

    ``data_prefix=dict(img='')``: pictures lie in the folder that their addresses name, so that those of ``val`` are
    found in ``train2017/`` where they are from there. Raises FileNotFoundError if they are not there.
    """

    COCOAPI = _Annotations
    where_pictures_lie = (
        ": the folders that they name (train2017/, val2017/ of COCO) lie below data_root, with data_prefix=dict(img='')"
    )

    def __init__(self, *args, num_classes: int = 1203, **kwargs) -> None:
        super().__init__(*args, num_classes=num_classes, **kwargs)


@METRICS.register_module()
class LVISFasterMetric(FasterCocoMetric):
    """Boxes and masks by the rules of LVIS (arXiv 1908.03195), computed by faster-coco-eval.

    A picture is annotated with some categories alone. Detections of a category count in the pictures that are annotated
    with it or that list it as absent (``neg_category_ids``), and are nothing elsewhere; where it is not annotated to
    the last object (``not_exhaustive_category_ids``), detections without a partner are neither right nor wrong. The 300
    best of a picture count, over all categories.

    ``lvis/{bbox,segm}_{AP,AP50,AP75,APs,APm,APl,APr,APc,APf}``: shares in [0, 1], not rounded; r, c and f are the rare,
    common and frequent categories. -1 where there is nothing to score.

    Args:
        ann_file: of the annotations.
        metric: 'bbox', 'segm' or both.
        metric_items: which of the results; all by default.
        kwargs: those of mmdet's ``CocoMetric`` that say how results are collected or named, or ``format_only``.
    """

    default_prefix = 'lvis'

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = 'bbox',
        metric_items: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        kinds = [metric] if isinstance(metric, str) else list(metric)
        if unknown := sorted(set(kinds) - {'bbox', 'segm'}):
            raise ValueError(f'LVISFasterMetric: metric={unknown[0]!r}, must be bbox or segm, or a list of both')
        if unknown := sorted(set(metric_items or ()) - set(_RESULTS)):
            raise ValueError(f'LVISFasterMetric: metric_items={unknown[0]!r}, must be among {", ".join(_RESULTS)}')
        super().__init__(ann_file=None, metric=kinds, metric_items=metric_items, **kwargs)
        self._coco_api = COCO(ann_file)
        self._judged = {image['id']: {*image.get('neg_category_ids', ())} for image in self._coco_api.dataset['images']}
        for annotation in self._coco_api.dataset['annotations']:
            self._judged[annotation['image_id']].add(annotation['category_id'])

    def compute_metrics(self, results: list) -> dict[str, float]:
        logger = MMLogger.get_current_instance()
        predictions = [prediction for _, prediction in results]
        self.cat_ids = self._coco_api.getCatIds(catNms=self.dataset_meta['classes'])
        if self.format_only:
            self.results2json(predictions, self.outfile_prefix)
            logger.info(f'results are saved as {self.outfile_prefix}.*.json')
            return OrderedDict()
        scores: dict[str, float] = OrderedDict()
        for kind in self.metrics:
            found = self._evaluate([item for each in predictions for item in self._items(each, kind)], kind)
            for name in self.metric_items or _RESULTS:
                scores[f'{kind}_{name}'] = found[name]
            logger.info(f'{kind}: ' + '  '.join(f'{name} {value:.4f}' for name, value in found.items()))
        return scores

    def _items(self, prediction: Mapping[str, Any], kind: str) -> list[dict]:
        """Of the best of one picture those that are right or wrong, as COCO's results. Masks keep their box, by whose
        area LVIS sorts them.

        faster-coco-eval would leave out the others too, but wants the size of their picture, which it does not look up
        where no other is left.
        """
        scores = prediction['scores']
        if kind == 'segm':
            if 'masks' not in prediction:
                raise ValueError("LVISFasterMetric: metric='segm', but the model predicts no masks")
            scores = prediction.get('mask_scores', scores)
        best = np.argsort(-scores, kind='stable')[:MAX_DETECTIONS]
        items = []
        for index in best:
            category = self.cat_ids[prediction['labels'][index]]
            if category not in self._judged[prediction['img_id']]:
                continue
            item = dict(
                image_id=prediction['img_id'],
                category_id=category,
                bbox=self.xyxy2xywh(prediction['bboxes'][index]),
                score=float(scores[index]),
            )
            if kind == 'segm':
                item['segmentation'] = prediction['masks'][index]
            items.append(item)
        return items

    def _evaluate(self, items: list[dict], kind: str) -> dict[str, float]:
        found = self._coco_api.loadRes(items)
        categories = sorted(self.cat_ids)
        parts = []
        for start in range(0, len(categories), CATEGORIES_AT_A_TIME):
            part = self._evaluation(found, kind, categories[start : start + CATEGORIES_AT_A_TIME])
            part.evaluate()
            part.accumulate()
            parts.append(part.eval)
        whole = self._evaluation(found, kind, categories)
        whole.freq_groups = whole._prepare_freq_group()
        # (thresholds, recalls, categories, areas, 1) and the same without recalls.
        whole.eval = {
            name: np.concatenate([part[name] for part in parts], axis)
            for name, axis in (('precision', 2), ('recall', 1))
        }
        whole.summarize()
        return {name: whole.stats_as_dict[theirs] for name, theirs in _RESULTS.items()}

    def _evaluation(self, found: COCO, kind: str, categories: list[int]) -> COCOeval_faster:
        evaluation = COCOeval_faster(self._coco_api, found, kind, lvis_style=True, extra_calc=False)
        evaluation.params.catIds = categories
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.iouThrs = self.iou_thrs
        return evaluation
