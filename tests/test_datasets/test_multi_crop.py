"""Crops are torchvision's, what is recorded is what was cut, and one view's record is that of a single-view pipeline.

Tests of distributions have fixed seeds; their bounds are such that without, one run in some hundred would fail.
"""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose, RandomFlip
from mmengine.dataset import default_collate
from mmpretrain.datasets.transforms import PackInputs
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from mimselfsup.datasets.samplers import EpochIndex
from mimselfsup.datasets.transforms import CROP_META_KEYS, MULTI_CROP_META_KEYS, SeedSample, cropping, view_samples
from mimselfsup.datasets.transforms.multi_crop import MultiCrop, draw_box
from mimselfsup.models.saliency.bank import views_of
from mimselfsup.registry import TRANSFORMS

SMALL = dict(global_size=32, local_size=20, num_local=4)


def picture(height: int = 90, width: int = 120) -> np.ndarray:
    """Smooth shapes with some grain, as a photograph has."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 9, width // 9, 3), dtype=np.uint8))
    smooth = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    return (smooth + rng.normal(0, 4, smooth.shape)).round().clip(0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------- where is cropped


@pytest.mark.parametrize(
    ('size', 'scale'),
    [((375, 500), (0.25, 1.0)), ((375, 500), (0.05, 0.25)), ((100, 300), (0.25, 1.0)), ((60, 48), (0.1, 0.4))],
)
def test_boxes_come_from_the_distribution_of_torchvision(size, scale):
    """Kolmogorov-Smirnov at 1e-4: sides, area, aspect, and where in the room that is left the crop lies."""
    n, ratio = 4000, (3 / 4, 4 / 3)
    random.seed(0), torch.manual_seed(0)
    image = torch.empty(3, *size)
    ours = np.array([draw_box(*size, scale, ratio) for _ in range(n)], dtype=float)
    theirs = np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(n)], dtype=float)
    for number in range(4):
        assert ks_2samp(ours[:, number], theirs[:, number]).pvalue > 1e-4
    for statistic in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
        lambda box: box[:, 0] / (size[0] - box[:, 2] + 1e-9),
        lambda box: box[:, 1] / (size[1] - box[:, 3] + 1e-9),
    ):
        assert ks_2samp(statistic(ours), statistic(theirs)).pvalue > 1e-4
    top, left, height, width = ours.T
    assert top.min() == 0 and left.min() == 0  # up to every edge, and not beyond
    assert (top + height).max() == size[0] and (left + width).max() == size[1]


def test_where_no_crop_fits_it_is_torchvisions_middle():
    for size, scale, ratio in (
        ((20, 400), (0.9, 1.0), (3 / 4, 4 / 3)),
        ((401, 19), (0.9, 1.0), (3 / 4, 4 / 3)),
        ((30, 40), (1.0, 1.0), (1.0, 1.0)),
        ((100, 110), (1.0, 1.0), (1.09999, 1.09999)),
    ):
        expected = RandomResizedCrop.get_params(torch.empty(3, *size), scale, ratio)
        assert draw_box(*size, scale, ratio) == expected
    assert draw_box(1, 1, (0.05, 0.25), (3 / 4, 4 / 3)) == (0, 0, 1, 1)


# ------------------------------------------------------------------------------------------- what is cut


def torchvisions_view(image: np.ndarray, backend: str, box, size: int, flip: bool) -> np.ndarray:
    source = Image.fromarray(image) if backend == 'pillow' else torch.from_numpy(image).permute(2, 0, 1)
    view = F.resized_crop(source, *box, [size, size], InterpolationMode.BICUBIC, antialias=True)
    view = F.horizontal_flip(view) if flip else view
    return np.array(view) if backend == 'pillow' else view.permute(1, 2, 0).numpy()


@pytest.mark.parametrize('backend', ['torch', 'pillow'])
def test_views_are_what_torchvision_cuts_at_the_recorded_boxes(backend):
    transform = TRANSFORMS.build(dict(type='MultiCrop', backend=backend, **SMALL))
    image = picture()
    before = image.copy()
    boxes, flips = set(), []
    for seed in range(20):
        random.seed(seed)
        results = transform(dict(img=image))
        assert [view.shape for view in results['img']] == [(32, 32, 3)] * 2 + [(20, 20, 3)] * 4
        assert results['img_shape'] == [(32, 32)] * 2 + [(20, 20)] * 4
        assert results['crop_source'] == (90, 120)
        for view, box, flip in zip(results['img'], results['crop_boxes'], results['flips'], strict=True):
            np.testing.assert_array_equal(view, torchvisions_view(image, backend, box, len(view), flip))
        areas = np.array([height * width for _, _, height, width in results['crop_boxes']]) / image[..., 0].size
        assert (areas[:2] > 0.24).all() and (areas[2:] > 0.04).all() and (areas[2:] < 0.26).all()
        boxes |= set(results['crop_boxes'])
        flips += results['flips']
    assert len(boxes) > 110 and {True, False} == set(flips)
    np.testing.assert_array_equal(image, before)


def test_the_two_backends_differ_by_rounding():
    views = {}
    for backend in ('torch', 'pillow'):
        random.seed(0)
        transform = MultiCrop(**{**SMALL, 'num_local': 30}, backend=backend)
        views[backend] = np.concatenate([view.ravel() for view in transform(dict(img=picture()))['img']]).astype(int)
    difference = np.abs(views['torch'] - views['pillow'])
    assert (difference > 0).mean() < 0.06 and (difference > 1).mean() < 0.001


def test_how_often_views_are_mirrored():
    for prob, expected in ((0.5, 0.5), (0.1, 0.1), (0.0, 0.0), (1.0, 1.0)):
        random.seed(0)
        transform = MultiCrop(global_size=2, local_size=2, num_local=98, flip_prob=prob)
        flips = np.array([transform(dict(img=picture(12, 12)))['flips'] for _ in range(10)])
        assert abs(flips.mean() - expected) <= 4 * (expected * (1 - expected) / flips.size) ** 0.5


@pytest.mark.parametrize('backend', ['torch', 'pillow'])
def test_what_the_loader_hands_over(backend):
    pipeline = Compose([MultiCrop(**SMALL, backend=backend), PackInputs(meta_keys=MULTI_CROP_META_KEYS)])
    plain = np.empty((40, 50, 3), np.uint8)
    plain[:] = (10, 20, 30)
    samples = [pipeline(dict(img=picture(), sample_idx=4, img_path='a')), pipeline(dict(img=plain, sample_idx=7))]
    batch = default_collate(samples)
    assert [view.shape for view in batch['inputs']] == [(2, 3, 32, 32)] * 2 + [(2, 3, 20, 20)] * 4
    assert all(view.dtype == torch.uint8 and view.is_contiguous() for view in batch['inputs'])
    for view in batch['inputs']:  # the order of the channels is that of the image
        assert torch.equal(view[1].flatten(1), torch.tensor([[10], [20], [30]]).expand(3, view[1, 0].numel()).byte())
    first, second = batch['data_samples']
    assert (first.sample_idx, first.img_path, first.crop_source) == (4, 'a', (90, 120))
    assert (second.sample_idx, second.crop_source) == (7, (40, 50)) and 'img_path' not in second
    for number, (box, flip) in enumerate(zip(first.crop_boxes, first.flips, strict=True)):
        assert all(type(value) is int for value in box)
        view = batch['inputs'][number][0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(view, torchvisions_view(picture(), backend, box, len(view), flip))


def test_views_are_a_function_of_seed_epoch_and_index():
    pipeline = Compose([SeedSample(), MultiCrop(**SMALL)])

    def boxes(index, epoch, seed):
        return pipeline(dict(img=picture(), sample_idx=EpochIndex(index, epoch, seed)))['crop_boxes']

    keys = [(index, epoch, seed) for index in (3, 4) for epoch in (0, 1) for seed in (0, 1)]
    first = [boxes(*key) for key in keys]
    random.seed(9)
    assert [boxes(*key) for key in reversed(keys)] == first[::-1]
    assert all(one != other for place, one in enumerate(first) for other in first[:place])


# ------------------------------------------------------------------------------------------- one view of many


def test_view_samples_are_those_of_a_pipeline_of_one_view():
    pipeline = Compose([MultiCrop(**SMALL), PackInputs(meta_keys=MULTI_CROP_META_KEYS)])
    random.seed(2)
    packed = [pipeline(dict(img=picture(), sample_idx=index, img_path=f'{index}.png')) for index in (5, 8, 9)]
    samples = [sample['data_samples'] for sample in packed]
    samples[2].set_field([('9.png', 'empty')], 'broken', field_type='metainfo')
    single = Compose([cropping.RandomResizedCrop(16), RandomFlip(prob=1.0), PackInputs(meta_keys=CROP_META_KEYS)])
    keys = set(single(dict(img=picture(), sample_idx=0, img_path='0.png'))['data_samples'].metainfo_keys())
    directions = set()
    for view in range(6):
        of_view = view_samples(samples, view)
        assert set(of_view[0].metainfo_keys()) == keys and of_view[2].broken == [('9.png', 'empty')]
        indices, boxes, flips = views_of(of_view)
        assert indices.tolist() == [5, 8, 9]
        for row, sample in enumerate(samples):
            top, left, height, width = sample.crop_boxes[view]
            assert boxes[row].tolist() == pytest.approx([top / 90, left / 120, height / 90, width / 120])
            assert flips[row].tolist() == [False, sample.flips[view]]
            assert of_view[row].img_path == sample.img_path
            directions.add((of_view[row].flip, of_view[row].flip_direction))
    assert directions == {(True, 'horizontal'), (False, None)}


def test_view_samples_without_a_record_or_a_view_are_refused():
    pipeline = Compose([MultiCrop(**SMALL), PackInputs(meta_keys=MULTI_CROP_META_KEYS)])
    samples = [pipeline(dict(img=picture()))['data_samples']]
    for view in (-1, 6):
        with pytest.raises(ValueError, match=f'view={view}, but the images have 6 views'):
            view_samples(samples, view)
    forgetful = Compose([MultiCrop(**SMALL), PackInputs()])
    with pytest.raises(ValueError, match=r'lacks crop_boxes, flips or crop_source.*MULTI_CROP_META_KEYS'):
        view_samples([forgetful(dict(img=picture()))['data_samples']], 0)


# ------------------------------------------------------------------------------------------- what is refused


def test_wrong_settings_are_named():
    for changes, message in (
        (dict(global_size=0), 'global_size=0, must be at least 1'),
        (dict(num_global=0), 'num_global=0, must be at least 1'),
        (dict(num_local=-1), 'num_local=-1, must be at least 0'),
        (dict(local_scale=(0.0, 0.2)), r'local_scale=\(0.0, 0.2\), must be \(low, high\) with 0 < low <= high <= 1'),
        (dict(global_scale=(0.4, 1.4)), 'global_scale'),
        (dict(ratio=(2, 1)), r'ratio=\(2, 1\), must be'),
        (dict(flip_prob=50), r'flip_prob=50, must lie in \[0, 1\]'),
        (dict(backend='cv2'), r"backend='cv2', must be one of \('torch', 'pillow'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            MultiCrop(**changes)


def test_a_flip_before_the_crops_is_refused():
    with pytest.raises(ValueError, match='leave RandomFlip out'):
        Compose([RandomFlip(prob=1.0), MultiCrop(**SMALL)])(dict(img=picture()))


def test_without_local_views_there_are_two():
    assert len(MultiCrop(num_local=0)(dict(img=picture()))['img']) == 2
