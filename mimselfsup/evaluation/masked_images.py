"""Images with patches blacked out: those that a reference attends to most, or any."""

from collections.abc import Sequence

import torch
from torch import Tensor

DEFAULT_RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def check_ratios(ratios: Sequence[float]) -> None:
    if not ratios or min(ratios) < 0 or max(ratios) >= 1:
        raise ValueError(f'ratios={tuple(ratios)}, must lie in [0, 1); they are shares of the patches to black out')


def attention_order(attention: Tensor) -> Tensor:
    """(B, heads, N) -> (B, N): the patches by falling attention, the mean over heads; of equal ones the first first."""
    return attention.float().mean(1).argsort(dim=1, descending=True, stable=True)


def random_order(images: int, patches: int, generator: torch.Generator) -> Tensor:
    """(B, N): a permutation for each image, drawn one after the other, whatever the size of the batch."""
    return torch.stack([torch.randperm(patches, generator=generator) for _ in range(images)])


def black_out(inputs: Tensor, order: Tensor, ratio: float, grid: tuple[int, int]) -> Tensor:
    """A copy of ``inputs`` (B, 3, H, W) that is 0 in the first floor(ratio * N) patches of ``order`` (B, N).

    0 is black in pixels that no mean has been subtracted from yet, and black is what AttMask's protocol means.
    Raises ValueError if the grid (h, w) does not divide the image.
    """
    height, width = inputs.shape[-2:]
    if height % grid[0] or width % grid[1]:
        raise ValueError(f'{height} x {width} pixels cannot be divided into a grid of {grid[0]} x {grid[1]} patches')
    hidden = torch.zeros(order.shape, dtype=torch.bool, device=inputs.device)
    count = int(ratio * order.shape[1] + 1e-9)  # 0.3 * 10 is a hair less than 3
    hidden.scatter_(1, order[:, :count].to(inputs.device), True)
    pixels = hidden.unflatten(1, grid).repeat_interleave(height // grid[0], 1).repeat_interleave(width // grid[1], 2)
    return inputs.masked_fill(pixels[:, None], 0)
