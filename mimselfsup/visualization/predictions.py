"""What detectors and segmentors say of pictures, drawn by mmdet's and mmseg's own visualizers.

mmdet and mmseg are imported when something is drawn: that takes seconds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.structures import InstanceData, PixelData

from .figure import picture_grid

SMALLEST_SIDE = 384  # pixels: on smaller pictures the names of objects would cover them
BACKGROUND = 'background'


def draw_objects(
    image: np.ndarray, objects: Mapping[str, Any], classes: Sequence[str], palette: Sequence | None = None
) -> np.ndarray:
    """Boxes, masks, names and scores over ``image``, (H, W, 3) uint8 RGB -> the same in [0, 1], enlarged where small.

    ``objects``: ``bboxes`` (n, 4) as x1, y1, x2, y2, ``labels`` (n,), and where there are any ``scores`` (n,) and
    ``masks`` (n, H, W).
    """
    from mmdet.structures import DetDataSample
    from mmdet.visualization import DetLocalVisualizer

    factor = _factor(image)
    image = _repeated(image, factor)
    if len(objects['labels']):
        kept = dict(objects)
        kept['bboxes'] = torch.as_tensor(kept['bboxes']).float() * factor
        kept['labels'] = torch.as_tensor(kept['labels'])
        if 'masks' in kept:
            kept['masks'] = _repeated(np.asarray(kept['masks']).astype(bool).transpose(1, 2, 0), factor).transpose(
                2, 0, 1
            )
        visualizer = DetLocalVisualizer(line_width=2, alpha=0.6)
        visualizer.dataset_meta = dict(classes=tuple(classes), palette=list(palette) if palette else None)
        sample = DetDataSample(gt_instances=InstanceData(**kept))
        state = np.random.get_state()
        np.random.seed(0)  # it varies the colours of masks by chance
        visualizer.add_datasample('objects', image, sample, draw_gt=True, draw_pred=False)
        np.random.set_state(state)
        image = visualizer.get_image()
    return image / 255


def draw_regions(
    image: np.ndarray, labels: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """The label of each pixel, (H, W), as a colour over ``image``; 255 is dark, a class named background is the picture
    itself. Sizes as in :func:`draw_objects`.

    Names stand in a legend: mmseg's, in the regions, take seconds per picture.
    """
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    factor = _factor(image)
    image, labels = _repeated(image, factor), _repeated(np.asarray(labels), factor)
    visualizer = SegLocalVisualizer(alpha=0.6)
    visualizer.dataset_meta = dict(classes=tuple(classes), palette=[list(colour) for colour in palette])
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.as_tensor(labels.astype(np.int64))[None]))
    visualizer.add_datasample('regions', image, sample, draw_gt=True, draw_pred=False, with_labels=False)
    drawn = visualizer.get_image()
    if BACKGROUND in classes:
        nothing = labels == list(classes).index(BACKGROUND)
        drawn[nothing] = image[nothing]
    return drawn / 255


def predictions_figure(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    note: str = '',
    legend: Sequence[tuple[str, Sequence[int]]] = (),
) -> Figure:
    """One row per picture, (H, W, 3) in [0, 1], its columns under ``titles``. Pictures of different shapes are set on
    white, whole. ``legend``: names and their colours, of which those that fit into a line are shown."""
    tallest = max(picture.shape[0] / picture.shape[1] for row in rows for picture in row)
    rows = [[_on_white(picture, tallest) for picture in row] for row in rows]
    cell = min(1.6, 7.0 / (1.03 * len(titles) + 0.15))
    room, squares = cell * len(titles), []
    for name, colour in legend:
        room -= 0.37 + 0.055 * len(name)  # inches, as picture_grid sets them
        if room < 0:
            break
        squares.append((name, np.full((1, 1, 3), colour) / 255))
    return picture_grid(rows, titles, cell=cell, legend=squares, note=note)


def _on_white(picture: np.ndarray, ratio: float) -> np.ndarray:
    """With white below, so that height / width is ``ratio``."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, max(0, round(width * ratio) - height)), (0, 0), (0, 0)), constant_values=1.0)


def _factor(image: np.ndarray) -> int:
    return -(-SMALLEST_SIDE // min(image.shape[:2]))


def _repeated(picture: np.ndarray, factor: int) -> np.ndarray:
    return np.ascontiguousarray(picture.repeat(factor, 0).repeat(factor, 1))
