"""Input, what the model saw, and what it made of it."""

import numpy as np
from matplotlib.figure import Figure

from mimselfsup.structures import TokenMask

from .figure import picture_grid, upsample
from .masks import paint_mask

PREDICTED = (1.0, 0.78, 0.25)  # of a drawing; a dim prediction is told from a faint truth by its colour
FAINT = (0.45, 0.45, 0.45)
GAMMA = 0.8  # predictions are averages of what may be there, which are dim
DOTS = 300  # of a page, per inch


def reconstruction_figure(
    pictures: np.ndarray,
    reconstructions: np.ndarray,
    mask: TokenMask,
    grid: tuple[int, int],
    groups: int = 1,
    targets: np.ndarray | None = None,
) -> Figure:
    """All (B, H, W, 3); a reconstruction is taken as it is, visible patches included.

    ``targets`` are the pictures of what was to be predicted, where that is not the input itself: the picture of a right
    prediction.
    """
    painted = paint_mask(pictures, mask, grid)
    if targets is None:
        rows = list(zip(pictures, painted, reconstructions, strict=True))
        return picture_grid(rows, ('input', 'masked', 'reconstruction'), groups)
    rows = list(zip(pictures, painted, targets, reconstructions, strict=True))
    note = 'target: what a right prediction looks like; prediction: the same with what was predicted where masked'
    return picture_grid(rows, ('input', 'masked', 'target', 'prediction'), groups, note=note)


def glyphs_figure(
    pictures: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    mask: TokenMask,
    grid: tuple[int, int],
    groups: int = 1,
) -> Figure:
    """``pictures`` (B, H, W, 3) and drawings (B, h, w) in [0, 1] of any size, white on black.

    Of ``predicted`` the masked patches are shown, in a colour; the others, which were not asked for, are true and faint
    there.
    """
    masked = mask.masked.cpu().numpy().reshape(-1, *grid)
    asked = np.stack([upsample(each, true.shape[1:]) for each in masked])
    true, predicted = true**GAMMA, predicted**GAMMA
    shown = np.where(asked[..., None], predicted[..., None] * PREDICTED, true[..., None] * FAINT)
    rows = list(zip(pictures, paint_mask(pictures, mask, grid), true[..., None].repeat(3, -1), shown, strict=True))
    # A whole number of dots to a pixel, or lines come out unequally thick.
    cell = max(1, round(1.4 * DOTS / true.shape[2])) * true.shape[2] / DOTS
    return picture_grid(
        rows,
        ('input', 'masked', 'target', 'prediction'),
        groups,
        cell=cell if groups == 1 and cell < 1.65 else None,
        note='lines along edges, brighter for a larger share of the histogram; coloured: predicted',
    )
