"""What a masking strategy hides, on the picture it hides it from."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mimselfsup.structures import TokenMask

from .attention import attention_overlay
from .figure import enlarge, picture_grid, upsample

MASKED = (0.55, 0.55, 0.55)
# Stripes, which no picture has, of two colours that differ in lightness: apart from grey in print, in a thumbnail,
# and for colour-blind readers.
THROWN = ((1.0, 1.0, 1.0), (0.84, 0.37, 0.0))


def paint_mask(pictures: np.ndarray, mask: TokenMask, grid: tuple[int, int]) -> np.ndarray:
    """(B, H, W, 3) with masked patches in grey and thrown ones striped; row r under row r of the mask.

    Comes out enlarged by a whole number where the pictures are small, so that there is room for stripes.
    """
    painted = enlarge(pictures).copy()
    size = painted.shape[1:3]
    stripes = _stripes(size, size[1] // grid[1])
    masked, thrown = (each.cpu().numpy().reshape(-1, *grid) for each in (mask.masked, mask.thrown))
    for row, picture in enumerate(painted):
        picture[upsample(masked[row], size)] = MASKED
        hidden = upsample(thrown[row], size)
        picture[hidden] = stripes[hidden]
    return painted


def _stripes(size: tuple[int, int], patch: int) -> np.ndarray:
    """(H, W, 3), diagonal, two pairs to a patch of ``patch`` pixels."""
    rows, columns = np.indices(size)
    return np.array(THROWN)[(rows + columns) // max(patch // 4, 2) % 2]


def masks_figure(
    pictures: np.ndarray,
    masks: Sequence[tuple[str, TokenMask]],
    grid: tuple[int, int],
    groups: int = 1,
    saliency: np.ndarray | None = None,
) -> Figure:
    """One row per picture: the picture, ``saliency`` (B, N) if given, what each named mask leaves of it."""
    titles, columns, note = ['input'], [pictures], ''
    if saliency is not None:
        maps = saliency.reshape(-1, *grid)
        titles.append('saliency')
        columns.append([attention_overlay(*each, 'nearest') for each in zip(pictures, maps, strict=True)])
        note = 'saliency: [CLS] attention, each map in its own range'
    lines = max((name.count('\n') for name, _ in masks), default=0)
    for name, mask in masks:
        titles.append(name + '\n' * (lines - name.count('\n')))  # the names of all strategies at one height
        columns.append(paint_mask(pictures, mask, grid))
    legend = []
    if any(bool(mask.thrown.any()) for _, mask in masks):
        legend.append(('masked (to be predicted)', np.full((1, 1, 3), MASKED)))
        legend.append(('thrown (not used)', _stripes((24, 24), 24)))
    return picture_grid(list(zip(*columns, strict=True)), titles, groups, legend=legend, note=note)
