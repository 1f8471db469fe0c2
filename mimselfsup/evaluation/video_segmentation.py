"""How well objects are followed through a clip: region similarity J and contour accuracy F, as DAVIS defines them.

Source: DAVIS, CVPR 2016 (Perazzi et al.), section 5; DAVIS 2017, arXiv 1704.00675, section 4. The details, such as the
width of the band in which contours match, are those of davisvideochallenge/davis2017-evaluation.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from .attention_segmentation import jaccard

BOUND = 0.008  # how far apart contours may lie, as a share of the diagonal of the frame


def object_scores(predicted: np.ndarray, truth: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """J and F, (count,) each in [0, 1], of the objects 1 ... count in two label maps (H, W)."""
    numbers = np.arange(1, count + 1)[:, None, None]
    guessed, true = predicted == numbers, truth == numbers
    regions = jaccard(torch.from_numpy(guessed), torch.from_numpy(true)).double().numpy()
    return regions, np.array([boundary_f(*pair) for pair in zip(guessed, true, strict=True)])


def boundary_f(predicted: np.ndarray, truth: np.ndarray, bound: float = BOUND) -> float:
    """F of the contours of two masks, bool (H, W).

    Precision is the share of the predicted contour within a distance of the true one, recall the share of the true one
    within that distance of the predicted; the distance is ``bound`` times the diagonal, rounded up to whole pixels. An
    empty mask has no contour: F is 1 if both are empty and 0 if one is.
    """
    found, expected = contour(predicted), contour(truth)
    if not found.any() or not expected.any():
        return float(found.any() == expected.any())
    distance = np.ceil(bound * np.hypot(*predicted.shape))
    precision = (_distance_to(expected)[found] <= distance).mean()
    recall = (_distance_to(found)[expected] <= distance).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """bool (H, W): the pixels that differ from the one to the right, the one below or the one below on the right.

    A contour is therefore one pixel wide, lies on the mask at its lower right and beside it at its upper left, and does
    not follow the border of the frame.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode='edge')
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def over_time(scores: Sequence[float]) -> dict[str, float]:
    """Of one object, from the scores of its frames: ``mean``; ``recall``, the share of frames above 0.5; ``decay``, the
    mean of the first quarter less that of the last. Quarters share the frames at which they meet."""
    values = np.asarray(scores, float)
    quarters = np.round(np.linspace(0, len(values) - 1, 5) + 1e-10).astype(int)  # halves up, as officially
    first, last = values[: quarters[1] + 1], values[quarters[3] :]
    return dict(mean=float(values.mean()), recall=float((values > 0.5).mean()), decay=float(first.mean() - last.mean()))


def _distance_to(pixels: np.ndarray) -> np.ndarray:
    """To the nearest of ``pixels`` (one at least). A disk around each of them is where this is at most its radius."""
    return cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
