"""Uniformly random masking (MAE, SimMIM) and the fixed grid of MAE's ablation."""

import torch

from mimselfsup.registry import MASKINGS
from mimselfsup.structures import TokenMask
from mimselfsup.structures.host_to_device import to_device

from .base import (
    COUNT_RULES,
    BaseMasking,
    check_share,
    hide_lowest,
    share_to_count,
    spread_units,
    unit_grid,
)


@MASKINGS.register_module()
class RandomMasking(BaseMasking):
    """Hides the same share of patches in every image, drawn uniformly without replacement.

    Args:
        mask_ratio: share hidden, or (low, high): then drawn uniformly per image (iBOT), so the number of
            hidden patches varies between the rows.
        unit: side of the square of patches that is hidden together; SimMIM's 32 px are 2 on a grid of 16
            px and 8 on one of 4 px.
        mask_prob: share of the images that are masked at all.
        count: how the share of the *units* becomes a number: 'floor', 'ceil' (MAE keeps floor(0.25 N), SimMIM
            hides ceil(0.6 U)) or 'round'.

    Source: MAE, arXiv 2111.06377; SimMIM, arXiv 2111.09886.
    """

    def __init__(
        self,
        mask_ratio: float | tuple[float, float],
        unit: int = 1,
        mask_prob: float = 1.0,
        count: str = 'floor',
    ) -> None:
        super().__init__(mask_prob)
        self.mask_ratio = check_share('RandomMasking', 'mask_ratio', mask_ratio)
        if count not in COUNT_RULES:
            raise ValueError(f'RandomMasking: count={count!r}, must be one of {COUNT_RULES}')
        self.unit = unit
        self.count = count

    def draw(self, grid, batch_size, saliency, generator, device):
        cells = unit_grid('RandomMasking', grid, self.unit)
        total = cells[0] * cells[1]
        noise = torch.rand(batch_size, total, generator=generator, device=device)
        low, high = self.mask_ratio
        if low == high:
            hidden = share_to_count(low, total, self.count)
            masked = spread_units(hide_lowest(noise, hidden), cells, self.unit)
            return TokenMask(masked, num_masked=hidden * self.unit**2)
        host = generator is None or generator.device.type == 'cpu'  # which then knows how many are hidden
        ratio = torch.empty(batch_size, 1, device='cpu' if host else device).uniform_(low, high, generator=generator)
        exact = ratio * total
        counts = {'floor': exact.floor, 'ceil': exact.ceil, 'round': exact.round}[self.count]()
        known = tuple(int(count) * self.unit**2 for count in counts[:, 0].tolist()) if host else None
        counts = to_device(counts, device)
        rank = noise.argsort(1).argsort(1)
        return TokenMask(spread_units(rank < counts, cells, self.unit), masked_per_row=known)


@MASKINGS.register_module()
class GridMasking(BaseMasking):
    """Keeps one patch of each 2 x 2 block and hides the other three: MAE's grid-wise sampling.

    The kept corner is the upper left one. MAE shows the pattern only as a picture (Fig. 6), which fixes the
    ratio to 0.75; 0.5 keeps the two patches of the falling diagonal.

    Raises ValueError for another ratio, or (in the call) for a grid with an odd side.
    """

    KEPT = {0.75: ((0, 0),), 0.5: ((0, 0), (1, 1)), 0.25: ((0, 0), (0, 1), (1, 1))}  # noqa: RUF012

    def __init__(self, mask_ratio: float = 0.75, mask_prob: float = 1.0) -> None:
        super().__init__(mask_prob)
        if mask_ratio not in self.KEPT:
            raise ValueError(
                f'GridMasking: mask_ratio={mask_ratio}, must be one of {sorted(self.KEPT)}: it hides 1, 2 or 3 '
                f'patches of each block of 2 x 2'
            )
        self.mask_ratio = mask_ratio

    def draw(self, grid, batch_size, saliency, generator, device):
        height, width = grid
        unit_grid('GridMasking', grid, 2)
        masked = torch.ones(height, width, dtype=torch.bool, device=device)
        for row, column in self.KEPT[self.mask_ratio]:
            masked[row::2, column::2] = False
        masked = masked.flatten().expand(batch_size, -1).clone()
        return TokenMask(masked, num_masked=round(self.mask_ratio * height * width))
