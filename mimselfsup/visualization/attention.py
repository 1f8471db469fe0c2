"""Where the [CLS] token of the last block looks."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from .figure import enlarge, picture_grid, upsample

COLORMAP = 'inferno'  # monotone in lightness: reads in grey and for colour-blind readers


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
