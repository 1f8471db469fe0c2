"""What a masking strategy hides, on the picture it hides it from."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mimselfsup.structures import TokenMask

from .figure import picture_grid, upsample

MASKED = (0.62, 0.62, 0.62)
THROWN = (0.0, 0.27, 0.45)  # dark blue: apart from grey in print and for colour-blind readers


def paint_mask(pictures: np.ndarray, mask: TokenMask, grid: tuple[int, int]) -> np.ndarray:
    """(B, H, W, 3) with masked patches in grey and thrown ones in dark blue; row r under row r of the mask."""
    painted = pictures.copy()
    size = pictures.shape[1:3]
    for kind, colour in (('masked', MASKED), ('thrown', THROWN)):
        patches = getattr(mask, kind).cpu().numpy().reshape(-1, *grid)
        for picture, hidden in zip(painted, patches, strict=True):
            picture[upsample(hidden, size)] = colour
    return painted


def masks_figure(
    pictures: np.ndarray, masks: Sequence[tuple[str, TokenMask]], grid: tuple[int, int], groups: int = 1
) -> Figure:
    """One row per picture: the picture, then what each named mask leaves of it."""
    columns = [pictures, *(paint_mask(pictures, mask, grid) for _, mask in masks)]
    thrown = any(bool(mask.thrown.any()) for _, mask in masks)
    legend = [('masked', MASKED), ('thrown', THROWN)] if thrown else []
    rows = list(zip(*columns, strict=True))
    return picture_grid(rows, ['input', *(name for name, _ in masks)], groups, legend=legend)
