"""Several crops of one picture, cut as soon as it is decoded."""

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.structures import DataSample
from PIL import Image

from mimselfsup.registry import TRANSFORMS

MULTI_CROP_META_KEYS = ('sample_idx', 'img_path', 'crop_source', 'crop_boxes', 'flips', 'broken')
"""``meta_keys`` of ``PackInputs`` for what :class:`MultiCrop` records."""

_ATTEMPTS = 10

Box = tuple[int, int, int, int]  # top, left, height, width


@TRANSFORMS.register_module()
class MultiCrop(BaseTransform):
    """Turns ``img`` (H, W, 3), uint8, into a list of views: first the global ones, then the local ones.

    A view is a crop of random area and aspect, resized (bicubic, antialiased), and mirrored or not. All else that
    makes views differ, colours and blur, is left to ``MultiCropPreprocessor``, which does it for a batch at once:
    loader processes decode and cut.

    Added keys: ``crop_boxes``, (top, left, height, width) of each view in pixels of the picture, ``crop_source``
    (H, W), its size, and ``flips``, whether each view is mirrored, left to right. :func:`view_samples` gives them for
    one view.

    Source: DINO, arXiv 2104.14294, and its code; the crops are torchvision's RandomResizedCrop, drawn from Python's
    generator.

    Args:
        global_size, local_size: pixels; views are square.
        global_scale, local_scale: range of the area, as a share of the picture's.
        num_global, num_local: how many views.
        ratio: range of width / height of the crop; its logarithm is drawn uniformly.
        flip_prob: of each view.
        backend: 'torch' or 'pillow', what resizes. The first gives what torchvision (v2) gives for tensors and is some
            four times as fast on x86 processors with AVX2; the second gives what torchvision gives for Pillow images,
            as in the published code. Both round twice: 4% of the values of a photograph differ, nearly all by one.
    """

    records = ('crop_boxes', 'crop_source', 'flips')

    def __init__(
        self,
        global_size: int = 224,
        global_scale: tuple[float, float] = (0.25, 1.0),
        num_global: int = 2,
        local_size: int = 96,
        local_scale: tuple[float, float] = (0.05, 0.25),
        num_local: int = 10,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
        backend: str = 'torch',
    ) -> None:
        for name, value, least in (
            ('global_size', global_size, 1),
            ('local_size', local_size, 1),
            ('num_global', num_global, 1),
            ('num_local', num_local, 0),
        ):
            if value < least:
                raise ValueError(f'MultiCrop: {name}={value}, must be at least {least}')
        for name, scale in (('global_scale', global_scale), ('local_scale', local_scale)):
            if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
                raise ValueError(
                    f'MultiCrop: {name}={scale}, must be (low, high) with 0 < low <= high <= 1, shares of the area'
                )
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f'MultiCrop: ratio={ratio}, must be (low, high) with 0 < low <= high: width / height')
        if not 0 <= flip_prob <= 1:
            raise ValueError(f'MultiCrop: flip_prob={flip_prob}, must lie in [0, 1]')
        if backend not in _RESIZE:
            raise ValueError(f'MultiCrop: backend={backend!r}, must be one of {tuple(_RESIZE)}')
        self.global_size, self.global_scale, self.num_global = global_size, _pair(global_scale), num_global
        self.local_size, self.local_scale, self.num_local = local_size, _pair(local_scale), num_local
        self.ratio = _pair(ratio)
        self.flip_prob = flip_prob
        self.backend = backend

    def transform(self, results: dict) -> dict:
        if results.get('flip'):
            raise ValueError('MultiCrop: the image is flipped already; MultiCrop flips each view, leave RandomFlip out')
        picture = results['img']
        source = rows, columns = picture.shape[:2]
        settings = [(self.global_size, self.global_scale)] * self.num_global
        settings += [(self.local_size, self.local_scale)] * self.num_local
        views, boxes, flips = [], [], []
        for size, scale in settings:
            top, left, height, width = box = draw_box(rows, columns, scale, self.ratio)
            flip = random.random() < self.flip_prob
            views.append(_RESIZE[self.backend](picture[top : top + height, left : left + width], size, flip))
            boxes.append(box)
            flips.append(flip)
        results['img'] = views
        results['img_shape'] = [view.shape[:2] for view in views]
        results.update(crop_boxes=boxes, crop_source=source, flips=flips)
        return results

    def __repr__(self) -> str:
        return (
            f'MultiCrop({self.num_global} x {self.global_size} px of {self.global_scale}, '
            f'{self.num_local} x {self.local_size} px of {self.local_scale}, ratio={self.ratio}, '
            f'flip_prob={self.flip_prob}, backend={self.backend!r})'
        )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    low, high = values
    return low, high


def _resize_with_torch(crop: np.ndarray, size: int, flip: bool) -> np.ndarray:
    planes = torch.from_numpy(crop).permute(2, 0, 1)[None]
    resized = F.interpolate(planes, (size, size), mode='bicubic', antialias=True, align_corners=False)[0]
    resized = resized.flip(2) if flip else resized
    return resized.permute(1, 2, 0).numpy()  # still planes in memory, which is how PackInputs wants them


def _resize_with_pillow(crop: np.ndarray, size: int, flip: bool) -> np.ndarray:
    resized = Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)  # BGR is as good as RGB here
    resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else resized
    return np.array(resized)


_RESIZE = dict(torch=_resize_with_torch, pillow=_resize_with_pillow)


def draw_box(height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Box:
    """A crop of a picture of this size, from the distribution of torchvision's RandomResizedCrop.

    Drawn again until it fits into the picture; after ten attempts it is the largest one in the middle whose aspect
    lies in ``ratio``, whatever its area.
    """
    for _ in range(_ATTEMPTS):
        area = height * width * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top, left = random.randint(0, height - crop_height), random.randint(0, width - crop_width)
            return top, left, crop_height, crop_width
    aspect = min(max(width / height, ratio[0]), ratio[1])
    crop_width, crop_height = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def view_samples(data_samples: Sequence[DataSample], view: int) -> list[DataSample]:
    """For one view of a multi-crop batch, the data samples that a pipeline of this single view would have given.

    They hold ``crop_box``, ``crop_source``, ``flip`` and ``flip_direction``, and of ``sample_idx``, ``img_path`` and
    ``broken`` what was there; so what follows a crop, as AttentionBank, follows this one. Raises ValueError if the
    samples do not say how their views were cut, or there is no such view.
    """
    samples = []
    for sample in data_samples:
        boxes, flips, source = (sample.get(key) for key in ('crop_boxes', 'flips', 'crop_source'))
        if boxes is None or flips is None or source is None:
            raise ValueError(
                'view_samples: a data sample lacks crop_boxes, flips or crop_source. The pipeline must crop by '
                "dict(type='mimselfsup.MultiCrop', ...) and end in PackInputs with meta_keys "
                '(mimselfsup.datasets.transforms.MULTI_CROP_META_KEYS)'
            )
        if not 0 <= view < len(boxes):
            raise ValueError(f'view_samples: view={view}, but the images have {len(boxes)} views, from 0')
        kept = {key: sample.get(key) for key in ('sample_idx', 'img_path', 'broken') if key in sample}
        flip = flips[view]
        direction = 'horizontal' if flip else None
        crop = dict(crop_box=boxes[view], crop_source=source, flip=flip, flip_direction=direction)
        samples.append(DataSample(metainfo={**kept, **crop}))
    return samples
