"""Triplets: input, what the model saw, what it made of it."""

import numpy as np
from matplotlib.figure import Figure

from mimselfsup.structures import TokenMask

from .figure import picture_grid
from .masks import paint_mask


def reconstruction_figure(
    pictures: np.ndarray,
    reconstructions: np.ndarray,
    mask: TokenMask,
    grid: tuple[int, int],
    groups: int = 1,
) -> Figure:
    """Both (B, H, W, 3); a reconstruction is taken as it is, visible patches included."""
    rows = list(zip(pictures, paint_mask(pictures, mask, grid), reconstructions, strict=True))
    return picture_grid(rows, ('input', 'masked', 'reconstruction'), groups)
