import torch

from mimselfsup.models.targets import PixelTarget, patchify, unpatchify


def test_order_inside_a_patch_is_row_column_channel():
    images = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    patches = patchify(images, (2, 2))
    assert patches.shape == (2, 6, 12)
    # patch 4 is row 1, column 1 of the 2 x 3 grid: pixels [2:4, 2:4]
    assert patches[1, 4].tolist() == [
        images[1, c, 2 + r, 2 + k].item() for r in (0, 1) for k in (0, 1) for c in range(3)
    ]
    assert torch.equal(unpatchify(patches, (2, 3), (2, 2)), images)


def test_standardised_patches():
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64) * 5 + 2
    target = PixelTarget((4, 4), normalize=True)
    patch = patchify(images, (4, 4))[1, 3]
    expected = (patch - patch.mean()) / (patch.var(unbiased=True) + 1e-6).sqrt()
    torch.testing.assert_close(target(images)[1, 3], expected)
    torch.testing.assert_close(target.to_pixels(target(images), images), images)


def test_a_constant_patch_has_a_finite_target():
    assert torch.equal(PixelTarget((4, 4), normalize=True)(torch.full((1, 3, 4, 4), 7.0)), torch.zeros(1, 1, 48))
