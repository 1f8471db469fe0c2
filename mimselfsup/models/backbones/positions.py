"""Two-dimensional position embeddings: the fixed sine-cosine ones, and a resize of any."""

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
