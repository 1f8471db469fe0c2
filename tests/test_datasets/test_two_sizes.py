"""Two sizes of one box: mmpretrain's crop of it, resized again, mirrored together, and recorded."""

import mmcv
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmpretrain.datasets.transforms import PackInputs

from mimselfsup.datasets.transforms import CROP_META_KEYS, RandomResizedCrop
from mimselfsup.registry import TRANSFORMS

SETTINGS = dict(scale=(24, 32), crop_ratio_range=(0.2, 1.0), backend='pillow', interpolation='bicubic')


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def build(**changes):
    return TRANSFORMS.build(dict(type='mimselfsup.TwoSizeCrop', second_scale=(12, 16), **SETTINGS) | changes)


@pytest.mark.parametrize('size', [(40, 40), (30, 70)])
def test_both_show_the_box_that_is_recorded(size):
    one, two, image = RandomResizedCrop(**SETTINGS), build(), noise(*size)
    boxes = set()
    for seed in range(10):
        np.random.seed(seed)
        expected = one(dict(img=image))
        np.random.seed(seed)
        got = two(dict(img=image))
        first, second = got['img']
        np.testing.assert_array_equal(first, expected['img'])
        assert (got['crop_box'], got['crop_source'], got['flip']) == (expected['crop_box'], size, False)
        top, left, height, width = got['crop_box']
        cut = image[top : top + height, left : left + width]
        again = mmcv.imresize(cut, (16, 12), interpolation='lanczos', backend='pillow')
        np.testing.assert_array_equal(second, again)
        boxes.add(got['crop_box'])
    assert len(boxes) > 5


def test_both_are_mirrored_or_none_and_the_sample_says_so():
    pipeline = Compose([build(flip_prob=0.5), PackInputs(meta_keys=CROP_META_KEYS)])
    flips = []
    for seed in range(20):
        np.random.seed(seed)
        straight = build()(dict(img=noise(40, 30)))['img']
        np.random.seed(seed)
        packed = pipeline(dict(img=noise(40, 30)))
        sample = packed['data_samples']
        for view, plain in zip(packed['inputs'], straight, strict=True):
            plain = plain[:, ::-1] if sample.flip else plain
            np.testing.assert_array_equal(view.permute(1, 2, 0), plain)
        assert sample.flip_direction == ('horizontal' if sample.flip else None)
        flips.append(sample.flip)
    assert 3 < sum(flips) < 17


def test_errors():
    with pytest.raises(ValueError, match=r'flip_prob=1.5, must lie in \[0, 1\]'):
        build(flip_prob=1.5)
