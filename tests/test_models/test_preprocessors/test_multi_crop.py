"""Which views are changed how, how often, and that all of it reaches the right view.

Tests of distributions have fixed seeds; their bounds are such that without, one run in some thousand would fail.
"""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import SelfSupDataPreprocessor
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import ColorJitter
from torchvision.transforms.v2 import functional as v2

from mimselfsup.models.preprocessors import MultiCropPreprocessor, multi_crop
from mimselfsup.models.preprocessors.image_operations import gaussian_blur
from mimselfsup.registry import MODELS, TRANSFORMS

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
PLAIN = dict(jitter_prob=0, grayscale_prob=0, blur_prob=0, solarize_prob=0)
BASES = Path(__file__).resolve().parents[3] / 'configs' / '_base_' / 'datasets'


def preprocessor(**changes) -> MultiCropPreprocessor:
    settings = dict(type='MultiCropPreprocessor', mean=MEAN, std=STD, to_rgb=True)
    return MODELS.build({**settings, **changes})


def batch(images: int = 6, sizes: tuple[int, ...] = (32, 32, 20, 20, 20)) -> list[torch.Tensor]:
    """Views, BGR, uint8; smooth, so that blur and rounding do not hide what else happens."""
    generator = torch.Generator().manual_seed(0)
    views = []
    for size in sizes:
        coarse = torch.rand(images, 3, 5, 5, generator=generator)
        view = torch.nn.functional.interpolate(coarse, (size, size), mode='bilinear', align_corners=True)
        views.append((255 * view).round().to(torch.uint8))
    return views


# ------------------------------------------------------------------------------------------- what is drawn


def draws(kind: int, count: int, **changes) -> multi_crop.Draws:
    torch.manual_seed(kind)
    return preprocessor(**changes).draw(torch.full((count,), kind))


@pytest.mark.parametrize(
    ('kind', 'expected'), [(0, (0.8, 0.2, 1.0, 0.0)), (1, (0.8, 0.2, 0.1, 0.2)), (2, (0.8, 0.2, 0.5, 0.0))]
)
def test_how_often_views_of_each_kind_are_changed(kind, expected):
    """Within 4 standard deviations of DINO's probabilities; whether two things happen is independent."""
    n = 20000
    happens = draws(kind, n).happens.double()
    expected = torch.tensor(expected, dtype=torch.float64)
    deviation = (expected * (1 - expected) / n).sqrt()
    assert ((happens.mean(0) - expected).abs() <= 4 * deviation).all()
    together = happens.T @ happens / n
    both = expected.outer(expected)
    off_diagonal = ~torch.eye(4, dtype=torch.bool)
    assert ((together - both).abs() <= 4 * (both * (1 - both) / n).sqrt())[off_diagonal].all()


def test_colours_come_from_the_distribution_of_torchvisions_jitter():
    """Kolmogorov-Smirnov for each factor, chi-squared for the 24 orders; both at 1e-4."""
    n = 4000
    ours = draws(0, n)
    settings = dict(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1))
    theirs = [ColorJitter.get_params(*settings.values()) for _ in range(n)]
    for number in range(4):
        expected = np.array([params[1 + number] for params in theirs])
        assert ks_2samp(ours.strength[:, number].numpy(), expected).pvalue > 1e-4
    weights = torch.tensor([64, 16, 4, 1])
    _, counts = (ours.order @ weights).unique(return_counts=True)
    assert len(counts) == 24 and chisquare(counts.numpy()).pvalue > 1e-4
    assert kstest(ours.radius.numpy(), 'uniform', (0.1, 1.9)).pvalue > 1e-4
    columns = torch.cat([ours.strength, ours.radius[:, None], ours.order[:, :3], ours.happens[:, :2]], 1).double()
    correlation = torch.corrcoef(columns.T)
    correlation[5:8, 5:8] = 0  # turns are not independent of each other
    assert (correlation - torch.diag(correlation.diag())).abs().max() < 4.5 / n**0.5


def test_ranges_are_those_asked_for():
    ours = draws(2, 2000, brightness=1.5, contrast=0.0, saturation=0.1, hue=0.5, blur_radius=(0.3, 0.4))
    low = torch.tensor([0.0, 1.0, 0.9, -0.5])
    high = torch.tensor([2.5, 1.0, 1.1, 0.5])
    assert (ours.strength >= low - 1e-6).all() and (ours.strength <= high + 1e-6).all()
    assert ((ours.strength.amax(0) - ours.strength.amin(0)) >= 0.98 * (high - low)).all()
    assert 0.3 <= ours.radius.min() < 0.301 and 0.399 < ours.radius.max() <= 0.4001


# ------------------------------------------------------------------------------------------- what is done


class Recorder:
    def __init__(self, ours: MultiCropPreprocessor) -> None:
        self.draw, self.drawn = ours.draw, []
        ours.draw = self

    def __call__(self, kinds):
        self.drawn.append((kinds, self.draw(kinds)))
        return self.drawn[-1][1]


def one_by_one(view: torch.Tensor, drawn: multi_crop.Draws, row: int) -> torch.Tensor:
    """The same view by torchvision's functions, from the definition."""
    jitter = [v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation, v2.adjust_hue]
    image = view[[2, 1, 0]].double() / 255
    does_jitter, grey, blurs, solarizes = drawn.happens[row].tolist()
    if does_jitter:
        for number in drawn.order[row].tolist():
            image = jitter[number](image, drawn.strength[row, number].item())
    if grey:
        image = v2.rgb_to_grayscale(image, num_output_channels=3)
    if blurs:
        image = gaussian_blur(255 * image[None], drawn.radius[row, None].double())[0] / 255
    if solarizes:
        image = torch.where(image >= 127.5 / 255, 1 - image, image)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    return ((255 * image - mean) / std).float()


@pytest.mark.parametrize('sizes', [(32, 32, 20, 20, 20), (16, 16, 16), (20, 32, 20, 32, 24)])
def test_each_view_is_what_its_draws_say(sizes):
    """Views of one size or many, in any order. The tolerance is 0.08 levels: weights of the luma, single precision."""
    views = batch(5, sizes)
    ours = preprocessor(solarize_prob=0.5, grayscale_prob=0.4, blur_prob=0.5)
    recorder = Recorder(ours)
    torch.manual_seed(3)
    got = ours(dict(inputs=views, data_samples=None), True)['inputs']
    assert len(got) == len(views)
    seen = set()
    for size, (kinds, drawn) in zip(dict.fromkeys(sizes), recorder.drawn, strict=True):
        places = [place for place, other in enumerate(sizes) if other == size]
        assert kinds.tolist() == [min(place, 2) for place in places for _ in range(5)]
        for block, place in enumerate(places):
            for index in range(5):
                expected = one_by_one(views[place][index], drawn, 5 * block + index)
                torch.testing.assert_close(got[place][index], expected, atol=0.0014, rtol=0)
        seen |= set(map(tuple, drawn.happens.tolist()))
    assert len(seen) > 6


def test_results_do_not_depend_on_how_many_are_worked_on_together(monkeypatch):
    views, ours = batch(), preprocessor()
    results = []
    for values in (1, 3 * 3 * 32 * 32, 2**24):
        monkeypatch.setattr(multi_crop, '_CPU_CHUNK', values)
        torch.manual_seed(1)
        results.append(ours.augment(views))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], atol=1e-5, rtol=1e-5)


def test_same_seed_same_views_and_the_input_is_left_alone():
    views, ours = batch(), preprocessor()
    before = [view.clone() for view in views]
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(ours.augment(views))
    assert all(torch.equal(one, other) for one, other in zip(results[0], results[1], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(results[0], results[2], strict=True))
    assert all(torch.equal(view, other) for view, other in zip(views, before, strict=True))


def test_views_of_one_picture_and_pictures_of_one_batch_draw_for_themselves():
    view = batch(1, (16,))[0].repeat(4, 1, 1, 1)
    torch.manual_seed(0)
    results = torch.cat(preprocessor(jitter_prob=1).augment([view] * 4)).flatten(1)
    assert (torch.cdist(results, results) + torch.eye(16) > 0.1).all()


def test_without_augmentation_views_are_normalised_as_by_mmpretrain():
    views = batch()
    expected = SelfSupDataPreprocessor(mean=MEAN, std=STD, to_rgb=True)(dict(inputs=views, data_samples=None))['inputs']
    torch.testing.assert_close(preprocessor(**PLAIN)(dict(inputs=views), True)['inputs'], expected)
    # Outside of training, and of single images always, nothing else is done.
    ours = preprocessor()
    torch.testing.assert_close(ours(dict(inputs=views, data_samples=None))['inputs'], expected)
    for training in (False, True):
        result = ours(dict(inputs=views[0], data_samples=[1]), training)
        torch.testing.assert_close(result['inputs'], expected[0])
        assert result['data_samples'] == [1]
    rgb = preprocessor(**PLAIN, to_rgb=False, mean=None, std=None).augment([view.flip(1) for view in views])
    assert all(torch.equal(got, view.flip(1).float()) for got, view in zip(rgb, views, strict=True))


def test_data_samples_are_handed_on_untouched():
    samples = [object()]
    assert preprocessor()(dict(inputs=batch(1), data_samples=samples), True)['data_samples'] is samples


def test_autocast_changes_nothing():
    views, ours, results = batch(), preprocessor(blur_prob=1), []
    for amp in (nullcontext(), torch.autocast('cpu', torch.bfloat16)):
        torch.manual_seed(1)
        with amp:
            results.append(ours.augment(views))
    for plain, mixed in zip(*results, strict=True):
        assert mixed.dtype == torch.float32 and torch.equal(plain, mixed)


def test_the_host_never_asks_the_device(monkeypatch):
    """On a device without values every question is an error, and so is any parameter that was left on the host."""
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: nullcontext())  # which knows no such device
    ours = preprocessor(solarize_prob=0.5).to('meta')
    recorder = Recorder(ours)
    views = ours(dict(inputs=batch(), data_samples=None), True)['inputs']
    assert [(view.device.type, *view.shape) for view in views] == [('meta', 6, 3, s, s) for s in (32, 32, 20, 20, 20)]
    assert all(drawn.happens.any(0).all() for _, drawn in recorder.drawn)


def test_wrong_settings_are_named():
    for changes, message in (
        (dict(blur_prob=1.2), r'blur_prob=1.2, must be a probability, or three'),
        (dict(jitter_prob=(0.1, 0.2)), r'jitter_prob=\(0.1, 0.2\), must be a probability, or three'),
        (dict(solarize_prob=(0, 0, -0.1)), 'solarize_prob'),
        (dict(hue=0.6), r'hue=0.6, must lie in \[0, 0.5\]'),
        (dict(contrast=-1), 'contrast=-1, must be at least 0'),
        (dict(blur_radius=(0, 2)), r'blur_radius=\(0, 2\), must be \(low, high\) with 0 < low'),
        (dict(blur_radius=(2, 1)), 'blur_radius'),
    ):
        with pytest.raises(ValueError, match=message):
            MultiCropPreprocessor(**changes)


# ------------------------------------------------------------------------------------------- what is shipped


def test_the_shipped_views_are_the_published_ones_and_the_toy_blur_is_in_proportion():
    large = Config.fromfile(BASES / 'imagenet_multicrop_224.py')
    ours = MODELS.build(large.data_preprocessor)
    assert ours._low.tolist() == pytest.approx([0.6, 0.6, 0.8, -0.1, 0.1])
    assert ours._high.tolist() == pytest.approx([1.4, 1.4, 1.2, 0.1, 2.0])
    crop = TRANSFORMS.build(next(step for step in large.train_pipeline if step.type == 'mimselfsup.MultiCrop'))
    assert (crop.num_global, crop.global_size, crop.global_scale) == (2, 224, (0.25, 1.0))
    assert (crop.num_local, crop.local_size, crop.local_scale) == (10, 96, (0.05, 0.25))
    small = Config.fromfile(BASES / 'toy_multicrop_48.py')
    toy = MODELS.build(small.data_preprocessor)
    published = [[0.8, 0.2, 1.0, 0.0], [0.8, 0.2, 0.1, 0.2], [0.8, 0.2, 0.5, 0.0]]
    torch.testing.assert_close(ours._probabilities, torch.tensor(published))
    assert torch.equal(toy._probabilities[:, 2:], ours._probabilities[:, 2:]) and torch.equal(
        toy._low[:4], ours._low[:4]
    )
    assert not toy._probabilities[:, :2].any()  # colours stay, see the config
    assert [toy._low[4], toy._high[4]] == pytest.approx([0.1 * 48 / 224, 2.0 * 48 / 224], abs=0.002)
    crop = TRANSFORMS.build(small.train_dataloader.dataset.pipeline[2])
    assert (crop.num_global, crop.global_size, crop.local_size) == (2, 48, 24)
