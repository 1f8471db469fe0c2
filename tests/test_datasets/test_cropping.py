"""The crop that records itself is mmpretrain's crop, and what it records is what was cut out."""

import numpy as np
import pytest
from mmcv.transforms import Compose, RandomFlip
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.datasets.transforms import RandomResizedCrop as Original

from mimselfsup.datasets.transforms.cropping import CROP_META_KEYS, RandomResizedCrop
from mimselfsup.registry import TRANSFORMS


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('size', [(40, 40), (30, 70), (90, 20)])
def test_same_crops_as_the_original_and_the_box_is_what_was_cut(size):
    settings = dict(scale=(24, 32), crop_ratio_range=(0.2, 1.0), backend='pillow', interpolation='bicubic')
    ours, original = TRANSFORMS.build(dict(type='mimselfsup.RandomResizedCrop', **settings)), Original(**settings)
    image = noise(*size)
    boxes = set()
    for seed in range(30):
        np.random.seed(seed)
        expected = original(dict(img=image))
        np.random.seed(seed)
        got = ours(dict(img=image))
        np.testing.assert_array_equal(got['img'], expected['img'])
        assert got['img_shape'] == expected['img_shape']
        assert got['crop_source'] == size
        top, left, height, width = got['crop_box']
        cut = image[top : top + height, left : left + width]
        assert cut.shape[:2] == (height, width)
        whole = Original(scale=settings['scale'], backend='pillow', interpolation='bicubic', max_attempts=0)
        whole.aspect_ratio_range = (0.001, 1000)  # no attempt: the whole of what it is given
        np.testing.assert_array_equal(whole(dict(img=cut))['img'], got['img'])
        boxes.add(got['crop_box'])
    assert len(boxes) > 10


def test_everything_that_saliency_needs_arrives_in_the_data_sample():
    pipeline = Compose([RandomResizedCrop(16), RandomFlip(prob=1.0), PackInputs(meta_keys=CROP_META_KEYS)])
    sample = pipeline(dict(img=noise(40, 30), sample_idx=3))['data_samples']
    assert (sample.sample_idx, sample.crop_source, sample.flip, sample.flip_direction) == (
        3,
        (40, 30),
        True,
        'horizontal',
    )
    assert all(type(value) is int for value in sample.crop_box)


def test_a_flip_before_the_crop_is_refused():
    pipeline = Compose([RandomFlip(prob=1.0), RandomResizedCrop(16)])
    with pytest.raises(ValueError, match='put RandomFlip after the crop'):
        pipeline(dict(img=noise(40, 30)))
