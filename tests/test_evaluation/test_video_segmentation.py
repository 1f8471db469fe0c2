"""J and F by hand, and against the official rules written a second time with loops and scikit-image."""

import math

import numpy as np
import pytest
from skimage.morphology import dilation, disk

from mimselfsup.evaluation.video_segmentation import boundary_f, contour, object_scores, over_time


def official_contour(mask):
    """Pixel by pixel: right, below, below on the right; in the last row and column only along it."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for row in range(height):
        for column in range(width):
            others = [(row + down, column + right) for down, right in ((0, 1), (1, 0), (1, 1))]
            inside = [mask[place] for place in others if place[0] < height and place[1] < width]
            found[row, column] = any(mask[row, column] != other for other in inside)
    return found


def official_f(predicted, truth, bound=0.008):
    """Matching by dilation with a disk."""
    found, expected = official_contour(predicted), official_contour(truth)
    footprint = disk(math.ceil(bound * math.sqrt(predicted.shape[0] ** 2 + predicted.shape[1] ** 2)))
    if found.sum() == 0 and expected.sum() > 0:
        precision, recall = 1, 0
    elif found.sum() > 0 and expected.sum() == 0:
        precision, recall = 0, 1
    elif found.sum() == 0:
        precision, recall = 1, 1
    else:
        precision = (found & dilation(expected, footprint)).sum() / found.sum()
        recall = (expected & dilation(found, footprint)).sum() / expected.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


def blobs(seed, shape=(36, 50)):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    mask = np.zeros(shape, bool)
    for _ in range(3):
        y, x, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(3, 12)
        mask |= (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return mask


@pytest.mark.parametrize('seed', range(4))
def test_f_is_that_of_dilation_with_a_disk(seed):
    a, b = blobs(seed), blobs(seed + 100)
    near = np.roll(a, (seed % 3, 2), (0, 1))
    assert np.array_equal(contour(a), official_contour(a))
    for bound in (0.008, 0.06):
        for other in (b, near):
            assert boundary_f(a, other, bound) == pytest.approx(official_f(a, other, bound), abs=1e-12)
    assert 0 < boundary_f(a, near) < 1 or seed % 3 == 0


def test_f_of_squares_by_hand():
    def square(top, left, side=10):
        mask = np.zeros((60, 80), bool)  # a diagonal of 100 px: contours match within 1 px
        mask[top : top + side, left : left + side] = True
        return mask

    # The contour of a square: a ring of 11 x 11 from one pixel above and left of it.
    assert contour(square(20, 20)).sum() == 40
    assert contour(square(20, 20))[19:30, 19:30].sum() == 40
    assert boundary_f(square(20, 20), square(20, 20)) == 1
    assert boundary_f(square(20, 20), square(20, 21)) == 1
    # Two pixels to the right: both vertical sides miss, but for a pixel at each end which the other's horizontal
    # side is next to. Of the horizontal sides 2 pixels at one end stand out, one of them next to the other's corner.
    assert boundary_f(square(20, 20), square(20, 22)) == pytest.approx(official_f(square(20, 20), square(20, 22)))
    assert boundary_f(square(20, 20), square(45, 60)) == 0
    assert boundary_f(square(20, 20), square(20, 22), bound=2) == 1


def test_a_contour_does_not_follow_the_border_of_the_frame():
    corner = np.zeros((8, 8), bool)
    corner[:3, :3] = True
    assert contour(corner).sum() == 5 and contour(corner)[2, :3].all() and contour(corner)[:3, 2].all()
    full = np.ones((8, 8), bool)
    assert not contour(full).any()
    assert boundary_f(full, full) == 1 and boundary_f(full, corner) == 0 and boundary_f(corner, full) == 0


def test_scores_of_the_objects_of_two_label_maps():
    truth = np.zeros((10, 10), np.uint8)
    truth[2:6, 2:6], truth[7:9, 7:9] = 1, 2
    guess = np.zeros((10, 10), np.uint8)
    guess[2:6, 4:8], guess[7:9, 7:9] = 1, 2
    regions, contours = object_scores(guess, truth, 3)
    assert regions.tolist() == pytest.approx([8 / 24, 1, 1])  # object 3 is in neither
    assert contours[1:].tolist() == [1, 1] and contours[0] == boundary_f(guess == 1, truth == 1) < 1
    regions, contours = object_scores(np.where(guess == 2, 3, guess), truth, 3)
    assert regions[1:].tolist() == [0, 0] and contours[1:].tolist() == [0, 0]


def test_course_of_a_score():
    found = over_time([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    # Quarters of nine frames: 1 to 3, ..., 7 to 9.
    assert found == pytest.approx(dict(mean=0.5, recall=4 / 9, decay=0.8 - 0.2))
    # Of eight: to 2.75 and from 6.25, rounded to 3 and 6.
    ramp = np.arange(8) / 10
    assert over_time(ramp)['decay'] == pytest.approx(ramp[:3].mean() - ramp[5:].mean())
    # Of seven they meet at 2.5, 4 and 5.5: halves are rounded up.
    ramp = np.array([0, 1, 4, 9, 16, 25, 36]) / 100
    assert over_time(ramp)['decay'] == pytest.approx(ramp[:3].mean() - ramp[5:].mean())
    assert over_time([0.6]) == dict(mean=0.6, recall=1, decay=0)
