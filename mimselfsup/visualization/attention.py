"""Where tokens of the last block look: [CLS], proxies, patches."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from .figure import SMALLEST_SIDE, enlarge, picture_grid, upsample

COLORMAP = 'inferno'  # monotone in lightness: reads in grey and for colour-blind readers
MARK = (0.0, 1.0, 1.0)  # a colour that the map lacks
MAPS_A_LINE = 8


def attention_overlay(
    picture: np.ndarray, attention: np.ndarray, mode: str = 'bicubic', strength: float = 0.6
) -> np.ndarray:
    """A picture (H, W, 3) in grey under a map (h, w) >= 0 in colour, scaled to its own range (a flat one is 0).

    Comes out enlarged by a whole number where the picture is small, so that the map is smooth on it.
    """
    picture = enlarge(picture)
    low, high = float(attention.min()), float(attention.max())
    scaled = (attention - low) / (high - low) if high > low else np.zeros_like(attention)
    values = upsample(scaled, picture.shape[:2], mode).clip(0, 1)
    colour = colormaps[COLORMAP](values)[..., :3]
    grey = picture.mean(-1, keepdims=True)  # colours of the picture would be read as attention
    return (1 - strength) * grey + strength * colour


def attention_figure(
    pictures: np.ndarray,
    attention: np.ndarray,
    grid: tuple[int, int],
    mode: str = 'bicubic',
    strength: float = 0.6,
) -> Figure:
    """``attention`` (B, heads, N). One row per picture: the picture, the mean over heads, each head."""
    maps = attention.reshape(*attention.shape[:2], *grid)
    rows = []
    for picture, heads in zip(pictures, maps, strict=True):
        shown = [heads.mean(0), *heads]
        rows.append([picture, *(attention_overlay(picture, each, mode, strength) for each in shown)])
    titles = ['input', 'mean', *(f'head {head + 1}' for head in range(maps.shape[1]))]
    return picture_grid(rows, titles, note='each map scaled from its minimum to its maximum')


def mark_patch(picture: np.ndarray, place: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """A copy of (H, W, 3) with a frame just inside the patch at ``place`` (row, column) of the ``grid``."""
    picture = picture.copy()
    tall, wide = picture.shape[0] // grid[0], picture.shape[1] // grid[1]
    row, column = place
    patch = picture[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
    down, right = np.indices(patch.shape[:2])
    from_edge = np.minimum(np.minimum(down, tall - 1 - down), np.minimum(right, wide - 1 - right))
    thick = max(min(tall, wide) // 8, 1)
    patch[from_edge < thick] = MARK
    patch[(from_edge >= thick) & (from_edge < thick + (thick + 1) // 2)] = 0  # apart from a bright ground too
    return picture


def queries_figure(
    pictures: np.ndarray,
    maps: np.ndarray,
    names: Sequence[str],
    places: Sequence[tuple[int, int] | None],
    grid: tuple[int, int],
    mode: str = 'bicubic',
    strength: float = 0.6,
) -> Figure:
    """Each picture beside the attention of Q tokens on it: ``maps`` (B, Q, N), one value per patch.

    ``names`` are the tokens', ``places`` where they stand, (row, column) in the grid, which is framed; None for a token
    that stands nowhere, [CLS] or a proxy. Many of them go on below, in lines of at most 8.
    """
    lines = -(-len(names) // MAPS_A_LINE)
    columns = -(-len(names) // lines)
    standing = [place for place in places if place is not None]
    rows, titles = [], []
    for picture, values in zip(pictures, maps.reshape(*maps.shape[:2], *grid), strict=True):
        drawn = []
        for each, place in zip(values, places, strict=True):
            overlay = attention_overlay(picture, each, mode, strength)
            drawn.append(overlay if place is None else mark_patch(overlay, place, grid))
        first = enlarge(picture)
        for place in standing:
            first = mark_patch(first, place, grid)
        blank = np.ones_like(first)
        for line in range(lines):
            part = slice(line * columns, (line + 1) * columns)
            spare = columns * (line + 1) - len(names) if line == lines - 1 else 0
            rows.append([blank if line else first, *drawn[part], *[blank] * spare])
            titles.append(['' if line else 'input', *names[part], *[''] * spare])
    note = 'mean over heads; each map scaled from its minimum to its maximum'
    if standing:
        note += '; framed: the patch that asks'
    return picture_grid(rows, titles if lines > 1 else titles[0], note=note)


def proxies_figure(maps: np.ndarray, grid: tuple[int, int], number: int, mode: str = 'bicubic') -> Figure:
    """Maps (P, N) of P [CLS] tokens, means over ``number`` images, without a picture below.

    Each is scaled to its own range, which stands above it in units of its mean: colours say where a proxy looks more
    than elsewhere, numbers how much more.
    """
    lines = -(-len(maps) // MAPS_A_LINE)
    columns = -(-len(maps) // lines)
    scale = -(-SMALLEST_SIDE // min(grid))
    size = grid[0] * scale, grid[1] * scale
    pictures, titles = [], []
    for index, each in enumerate(maps):
        shares = each / each.mean()
        low, high = float(shares.min()), float(shares.max())
        scaled = (shares - low) / (high - low) if high > low else np.zeros_like(shares)
        values = upsample(scaled.reshape(grid), size, mode).clip(0, 1)
        pictures.append(colormaps[COLORMAP](values)[..., :3])
        name = '[CLS]' if len(maps) == 1 else f'proxy {index + 1}'
        titles.append(f'{name}\n{low:.2f} to {high:.2f}')
    spare = lines * columns - len(maps)
    pictures += [np.ones((*size, 3))] * spare
    titles += [''] * spare
    note = f'mean attention over {number} images and all heads; from dark to bright: the range above, 1 is its mean'
    parts = [slice(line * columns, (line + 1) * columns) for line in range(lines)]
    rows = [pictures[part] for part in parts]
    return picture_grid(rows, [titles[part] for part in parts], cell=2.0 if len(maps) == 1 else None, note=note)
