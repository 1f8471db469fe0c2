"""Fixed two-dimensional sine-cosine position embeddings."""

import torch
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
