"""Batched colours and blur do to each image what torchvision and Pillow do to it alone."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as pil
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms.v2 import functional as v2

from mimselfsup.models.preprocessors.image_operations import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    luma,
    solarize,
)

# Operation, torchvision's, parameters, and how far it may be, in levels, from torchvision's on floats (whose luma has
# weights that add up to 0.9999) and, at most and on average, from torchvision's on Pillow images, which are 8-bit: it
# truncates, and its hue has 256 steps of 1.4 degrees.
ADJUSTMENTS = {
    'brightness': (adjust_brightness, 'adjust_brightness', (0.6, 0.93, 1.0, 1.4), 1e-3, 1, 0.6),
    'contrast': (adjust_contrast, 'adjust_contrast', (0.6, 0.93, 1.0, 1.4), 0.03, 1.3, 1),
    'saturation': (adjust_saturation, 'adjust_saturation', (0.0, 0.8, 1.0, 1.2), 0.03, 1.3, 0.6),
    'hue': (adjust_hue, 'adjust_hue', (-0.5, -0.1, 0.0, 0.03, 0.1), 1e-3, 16, 1.5),
}


def pictures() -> np.ndarray:
    """Noise; smooth colours; grey; and one with black, white and pure colours. (4, 40, 56, 3), uint8, RGB."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    smooth = Image.fromarray(noise[:5, :7]).resize((56, 40), Image.Resampling.BICUBIC)
    grey = noise[..., :1].repeat(3, axis=2)
    pure = rng.choice(np.array([0, 255], np.uint8), (40, 56, 3))
    return np.stack([noise, np.array(smooth), grey, pure])


def as_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def as_array(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize('kind', ADJUSTMENTS)
def test_adjustments_are_those_of_torchvision(kind):
    operation, name, parameters, of_floats, at_most, on_average = ADJUSTMENTS[kind]
    images = pictures()
    pairs = [(image, parameter) for image in images for parameter in parameters]
    batch = as_tensor(np.stack([image for image, _ in pairs]))
    before = batch.clone()
    got = operation(batch, torch.tensor([parameter for _, parameter in pairs]))
    assert torch.equal(batch, before)
    for (image, parameter), result in zip(pairs, got, strict=True):
        expected = 255 * getattr(v2, name)(as_tensor(image[None])[0] / 255, parameter)
        torch.testing.assert_close(result, expected, atol=of_floats, rtol=0)
        difference = np.abs(as_array(result[None])[0] - np.array(getattr(pil, name)(Image.fromarray(image), parameter)))
        assert difference.max() < at_most and difference.mean() < on_average


def test_grey_is_pillows_luma():
    images = pictures()
    expected = np.stack([np.array(Image.fromarray(image).convert('L')) for image in images])
    got = luma(as_tensor(images))[:, 0]
    assert np.abs(got.numpy() - expected).max() < 0.51
    grey = adjust_saturation(as_tensor(images), torch.zeros(4))
    torch.testing.assert_close(grey, got[:, None].expand(4, 3, -1, -1), atol=1e-4, rtol=0)


def test_solarize_is_pillows_on_whole_numbers_and_on_what_would_be_rounded_to_them():
    images = pictures()
    thresholds = [128, 128, 40, 255]
    got = as_array(solarize(as_tensor(images), torch.tensor(thresholds).float()))
    for image, threshold, result in zip(images, thresholds, got, strict=True):
        np.testing.assert_array_equal(result, np.array(ImageOps.solarize(Image.fromarray(image), threshold)))
    between = torch.tensor([127.4, 127.6, 128.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    torch.testing.assert_close(solarize(between, torch.tensor([128.0]))[0, 0, 0], torch.tensor([127.4, 127.4, 127.0]))


def test_blur_is_pillows():
    """To its rounding after each of six passes; at the border too, and for every radius in the batch."""
    images = pictures()
    radii = [0.02, 0.1, 0.3, 0.5, 0.9, 1.3, 2.0, 4.0]
    pairs = [(image, radius) for image in images for radius in radii]
    batch = as_tensor(np.stack([image for image, _ in pairs]))
    got = as_array(gaussian_blur(batch, torch.tensor([radius for _, radius in pairs])))
    for (image, radius), result in zip(pairs, got, strict=True):
        expected = np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
        difference = np.abs(result - expected)
        assert difference.max() < 3 and difference.mean() < 1.3, radius


def test_blur_spreads_a_point_with_the_variance_of_the_gaussian():
    radii = torch.tensor([0.1, 0.3, 0.7, 1.0, 2.0])
    point = torch.zeros(5, 3, 41, 33)
    point[:, :, 20, 16] = 255
    spread = gaussian_blur(point, radii)
    torch.testing.assert_close(spread.sum((2, 3)), torch.full((5, 3), 255.0))
    rows, columns = (torch.arange(41) - 20.0) ** 2, (torch.arange(33) - 16.0) ** 2
    torch.testing.assert_close((spread[:, 0].sum(2) / 255) @ rows, radii**2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close((spread[:, 0].sum(1) / 255) @ columns, radii**2, atol=1e-5, rtol=1e-4)
    plain = torch.full((5, 3, 20, 30), 200.0)
    torch.testing.assert_close(gaussian_blur(plain, radii), plain)
