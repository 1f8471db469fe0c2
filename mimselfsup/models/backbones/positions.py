"""Two-dimensional positions: the fixed sine-cosine embedding, and what becomes of any, and of tables of relative ones,
on another grid."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def sincos_positions(
    grid: tuple[int, int], dims: int, num_extra_tokens: int = 1, temperature: float = 10000.0
) -> Tensor:
    """(1, extra + h * w, dims), float32, row-major; the slots of the extra tokens are zero.

    The first half of the channels encodes the column and the second half the row, each as sines then cosines,
    as in MAE's released code. (mmpretrain's builder gives the transpose of it, which for a grid that is
    not square repeats codes.) Raises ValueError if ``dims`` is no multiple of 4.
    """
    if dims % 4:
        raise ValueError(f'sine-cosine positions need a width that is a multiple of 4, got {dims}')
    height, width = grid
    frequency = temperature ** -(torch.arange(dims // 4, dtype=torch.float64) / (dims // 4))

    def encode(coordinate: Tensor) -> Tensor:
        angle = coordinate.flatten().double()[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    patches = torch.cat([encode(column), encode(row)], dim=1)
    return torch.cat([patches.new_zeros(num_extra_tokens, dims), patches]).float().unsqueeze(0)


def resize_positions_as_dino(
    positions: Tensor, source: tuple[int, int], grid: tuple[int, int], mode: str = 'bicubic', num_extra_tokens: int = 1
) -> Tensor:
    """(1, extra + h * w of ``source``, dims) -> the same for ``grid``; called as mmpretrain's ``resize_pos_embed``.

    The scale is (g + 0.1) / G instead of g / G: the guard against rounding of DINO's released code, which also moves
    the sampling points.
    """
    if tuple(source) == tuple(grid):
        return positions
    extra, patches = positions[:, :num_extra_tokens], positions[:, num_extra_tokens:]
    maps = patches.transpose(1, 2).unflatten(2, tuple(source)).float()  # (1, dims, h, w); cubic needs float32
    scale = tuple((new + 0.1) / old for new, old in zip(grid, source, strict=True))
    maps = F.interpolate(maps, scale_factor=scale, mode=mode, align_corners=False)
    return torch.cat([extra, maps.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)


def resize_relative_table_as_beit(table: Tensor, source: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """A table of relative positions for ``source`` -> the same for ``grid``, as BEiT's code does before fine-tuning.

    ``table``: ((2h - 1)(2w - 1) + rest, heads), the rest, [CLS]'s, is kept. Of the old distances 1, 2, 3, ... the first
    stays where it is and each following step is q times the one before, with q such that the largest becomes that of
    ``grid``; a bicubic spline goes through them. So neighbours keep what they had, where a plain resize would stretch
    it over several patches. (mmpretrain's needs a function that SciPy no longer has.)
    """
    if tuple(source) == tuple(grid):
        return table
    from scipy.interpolate import RectBivariateSpline  # mmdet brings it; pre-training does without

    places = [_grown_distances(old - 1, new - 1) for old, new in zip(source, grid, strict=True)]
    wanted = [np.arange(1.0 - new, new) for new in grid]
    known = len(places[0]) * len(places[1])
    maps = table[:known].T.unflatten(1, (len(places[0]), len(places[1]))).detach().double().cpu().numpy()
    degrees = dict(kx=min(3, len(places[0]) - 1), ky=min(3, len(places[1]) - 1))
    resized = np.stack([RectBivariateSpline(*places, values, **degrees)(*wanted) for values in maps])
    return torch.cat([torch.from_numpy(resized).flatten(1).T.to(table), table[known:]])


def _grown_distances(old: int, new: int) -> np.ndarray:
    """Where -old, ..., old come to lie, (2 old + 1,); q is looked for between 1.01 and 1.5."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q**old) / (1 - q) > new else (q, high)
    away = np.cumsum(q ** np.arange(old))
    return np.concatenate([-away[::-1], [0.0], away])
