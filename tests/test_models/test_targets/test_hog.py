"""HOG against mmpretrain's, against scikit-image's where the two mean the same, and against what must hold."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.models.selfsup.maskfeat import HOGGenerator
from skimage.feature import hog as skimage_hog

from mimselfsup.models.targets import HOGTarget


@pytest.mark.parametrize('window', [0, 16])
def test_equals_mmpretrains(window):
    """To the rounding of float32, on the grid of 14 x 14 that mmpretrain's is written for; order included."""
    images = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    ours = HOGTarget((16, 16), gaussian_window=window)(images)
    assert ours.shape == (3, 196, 108)
    torch.testing.assert_close(ours, HOGGenerator(gaussian_window=window)(images), atol=5e-7, rtol=0)


@pytest.mark.parametrize(('side', 'cell'), [(48, 8), (40, 4), (54, 6)])
def test_equals_scikit_images_where_the_gradients_do(side, cell):
    """To 1e-6: scikit-image adds its votes up in single precision.

    scikit-image takes differences of two neighbours instead of Sobel's, and measures the angle from the other axis. For
    images a(x) + b(y), transposed, neither matters: Sobel's smoothing across the difference multiplies it by 4. Its
    norm has an epsilon of 1e-5, far below those here.
    """
    generator = np.random.default_rng(side)
    across, down = generator.normal(0, 1e4, (2, 3, side))
    images = down[:, :, None] + across[:, None, :]
    expected = np.stack(
        [
            skimage_hog(
                channel.T,
                orientations=9,
                pixels_per_cell=(cell, cell),
                cells_per_block=(1, 1),
                block_norm='L2',
                feature_vector=False,
            ).reshape(side // cell, side // cell, 9)
            for channel in images
        ]
    )
    ours = HOGTarget((cell, cell), cell=cell).histograms(torch.from_numpy(images)[None])[0]
    np.testing.assert_allclose(ours.permute(0, 3, 2, 1), expected, atol=1e-6)


def test_equals_the_definition_by_hand():
    """One cell, voted pixel by pixel from the formula."""
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = np.zeros((3, 9))
    for channel in range(3):
        padded = np.pad(image[0, channel].numpy(), 1, mode='reflect')
        for row in range(8):
            for column in range(8):
                near = padded[row : row + 3, column : column + 3]
                gx = (near[:, 0] - near[:, 2]) @ [1, 2, 1]
                gy = (near[0] - near[2]) @ [1, 2, 1]
                expected[channel, math.floor(9 * math.atan2(gx, gy) / math.pi) % 9] += math.hypot(gx, gy)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    ours = HOGTarget((8, 8))(image)
    np.testing.assert_allclose(ours[0, 0], expected.flatten(), atol=1e-12)


def test_edges_vote_where_they_should():
    down, right = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing='ij')
    bins = {}
    for name, ramp in dict(vertical=right, horizontal=down, falling=right - down, rising=right + down).items():
        middle = HOGTarget((8, 8), cell=2).histograms(ramp.expand(1, 3, 16, 16))[0, 0, :, 3, 3]
        bins[name] = (middle > 0).nonzero().flatten().tolist()
        inverted = HOGTarget((8, 8), cell=2).histograms(-ramp.expand(1, 3, 16, 16))[0, 0, :, 3, 3]
        torch.testing.assert_close(inverted, middle)
    assert bins == dict(vertical=[4], horizontal=[0], falling=[6], rising=[2])


def test_scale_and_shift_of_a_channel_change_nothing():
    """So it makes no difference whether images are normalised, and with which mean and std."""
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 255
    mean, std = torch.tensor([123.0, 116.0, 103.0]).view(3, 1, 1), torch.tensor([58.0, 57.0, 56.0]).view(3, 1, 1)
    target = HOGTarget((16, 16))
    torch.testing.assert_close(target((images - mean) / std), target(images), atol=1e-9, rtol=0)


def test_flat_cells_are_zero_and_others_have_norm_one():
    images = torch.full((1, 3, 32, 32), 7.0)
    images[:, :, :, 24:] = torch.randn(1, 3, 32, 8)
    norms = HOGTarget((16, 16)).histograms(images).norm(dim=2)
    # Columns 0 to 22 see nothing but the constant: cells 0 and 1.
    assert (norms[..., :2] == 0).all()
    torch.testing.assert_close(norms[..., 2:], torch.ones_like(norms[..., 2:]))


def test_cells_of_a_patch_belong_to_it():
    """Any grid, also one that is not square, and cells that are no 8 x 8."""
    target = HOGTarget((6, 12), cell=3)
    images = torch.randn(2, 3, 24, 36)
    histograms, patches = target.histograms(images), target(images)
    assert patches.shape == (2, 12, 3 * 9 * 2 * 4) and target.out_channels == 216
    for patch, channel, number, row, column in ((0, 0, 0, 0, 0), (7, 2, 5, 1, 3), (11, 1, 8, 0, 2)):
        top, left = 2 * (patch // 3) + row, 4 * (patch % 3) + column
        index = ((channel * 9 + number) * 2 + row) * 4 + column
        assert torch.equal(patches[:, patch, index], histograms[:, channel, number, top, left])


def test_same_under_autocast_and_no_gradient():
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    target = HOGTarget((16, 16))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        ours = target(images)
    assert ours.dtype == torch.float32 and not ours.requires_grad
    assert torch.equal(ours, target(images))
    assert not target.state_dict() and not list(target.parameters())


def test_glyphs_run_along_the_edges():
    """A vertical edge is drawn as a vertical line in the middle of its cell, and as bright as it is pure."""
    right = torch.arange(32.0).expand(1, 3, 32, 32)
    target = HOGTarget((16, 16), cell=8)
    drawn = target.glyphs(target(right), (2, 2), side=9)
    assert drawn.shape == (1, 36, 36) and drawn.max() == 1
    cell = drawn[0, 9:18, 9:18]
    assert (cell[:, 4] == 1).all() and (cell[:, :3] == 0).all() and (cell[:, 6:] == 0).all()
    patches = torch.zeros(1, 4, 108)
    patches[0, 3, 4 * 4 + 1] = 0.5  # red channel, bin 4, cell (0, 1) of the patch at (1, 1)
    lit = target.glyphs(patches, (2, 2), side=9)[0].nonzero()
    assert lit.amin(0).tolist() == [18, 27 + 3] and lit.amax(0).tolist() == [26, 27 + 5]


def test_errors_say_what_does_not_fit():
    with pytest.raises(ValueError, match='cell=8 does not divide patches of 6 x 6 pixels'):
        HOGTarget((6, 6))
    with pytest.raises(ValueError, match='bins=0, must be at least 1'):
        HOGTarget((8, 8), bins=0)
    with pytest.raises(ValueError, match='images of 40 x 48, sides must be multiples of gaussian_window: 16 x 16'):
        HOGTarget((8, 8), gaussian_window=16)(torch.zeros(1, 3, 40, 48))
