"""Block-wise masking (BEiT): rectangles until the count is reached."""

import math

import torch
import torch.nn.functional as F

from mimselfsup.registry import MASKINGS
from mimselfsup.structures import TokenMask
from mimselfsup.structures.host_to_device import to_device

from .base import BaseMasking, check_share, share_to_count, spread_units, unit_grid

TRIES_IN_A_ROW = 10  # BEiT gives up after so many proposals that add nothing


@MASKINGS.register_module()
class BlockMasking(BaseMasking):
    """Hides rectangles of random size, shape and place until ``mask_ratio`` of the patches is hidden.

    One proposal: area ~ U(min_block, patches left to hide), aspect ratio log-uniform in ``aspect``, place
    uniform; accepted if it is smaller than the grid and adds between 1 patch and what is left. All rows of
    the batch make their proposals at the same time.

    Args:
        mask_ratio: share hidden, or (low, high), drawn uniformly per image. With ``exact`` floor(ratio * N)
            patches; without it ratio * N is a limit that is not rounded, as in iBOT's code.
        min_block: smallest area that is proposed, in patches.
        aspect: range of height / width.
        exact: fill up to the exact count with single neighbours of hidden patches, so that all rows hide equally
            many. False is BEiT's own code: give up after ten proposals in a row that add nothing, which on 14
            x 14 hides 64 to 75 of 75.
        max_proposals: proposals per image.
        unit: side of the square of patches that is one cell of the rectangles; ``min_block`` and all counts are then of
            units. 8 for Swin's 4 px: rectangles on 7 x 7, where ``min_block`` is 4 in iBOT's code.

    Source: BEiT, arXiv 2106.08254, Algorithm 1 (both ends of the range of places included, as in its code).
    """

    def __init__(
        self,
        mask_ratio: float | tuple[float, float],
        min_block: int = 16,
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
        mask_prob: float = 1.0,
        exact: bool = True,
        max_proposals: int = 64,
        unit: int = 1,
    ) -> None:
        super().__init__(mask_prob)
        self.mask_ratio = check_share('BlockMasking', 'mask_ratio', mask_ratio)
        if min_block < 1:
            raise ValueError(f'BlockMasking: min_block={min_block}, must be at least 1 patch')
        if not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f'BlockMasking: aspect={aspect}, must be (low, high) with 0 < low <= high')
        self.min_block = min_block
        self.log_aspect = (math.log(aspect[0]), math.log(aspect[1]))
        self.exact = exact
        self.max_proposals = max_proposals
        self.unit = unit

    def draw(self, grid, batch_size, saliency, generator, device):
        cells = height, width = unit_grid('BlockMasking', grid, self.unit)
        total = height * width
        low, high = self.mask_ratio
        # Patches left to hide. Unrounded unless exact: it is also the upper end of the areas that are proposed,
        # and the code that this follows reaches 58 in 59% of the images from 58.8, but in 66% from 58.
        count = share_to_count(low, total)
        left = torch.full((batch_size,), float(count if self.exact else low * total), device=device)
        per_row = None
        if low < high:
            host = generator is None or generator.device.type == 'cpu'  # which then knows how many are hidden
            drawn = torch.rand(batch_size, generator=generator, device='cpu' if host else device)
            left = (low + (high - low) * drawn) * total
            left = left.floor() if self.exact else left
            if host and self.exact:
                per_row = tuple(int(each) * self.unit**2 for each in left.tolist())
            left = to_device(left, device)

        # Four uniform numbers a proposal: area, aspect, top, left.
        u = torch.rand(self.max_proposals, 4, batch_size, generator=generator, device=device)
        aspect = torch.exp(self.log_aspect[0] + u[:, 1] * (self.log_aspect[1] - self.log_aspect[0]))
        rows = torch.arange(height, device=device).view(1, height, 1)
        columns = torch.arange(width, device=device).view(1, 1, width)
        masked = torch.zeros(batch_size, height, width, dtype=torch.bool, device=device)
        failures = torch.zeros_like(left)
        for proposal in range(self.max_proposals):
            area = self.min_block + u[proposal, 0] * (left - self.min_block)
            block_h = (area * aspect[proposal]).sqrt().round().long()
            block_w = (area / aspect[proposal]).sqrt().round().long()
            top = (u[proposal, 2] * (height - block_h + 1)).floor().long()
            start = (u[proposal, 3] * (width - block_w + 1)).floor().long()
            block = (
                (rows >= top.view(-1, 1, 1))
                & (rows < (top + block_h).view(-1, 1, 1))
                & (columns >= start.view(-1, 1, 1))
                & (columns < (start + block_w).view(-1, 1, 1))
            )
            added = (block & ~masked).sum((1, 2))
            fits = (block_h < height) & (block_w < width) & (added > 0) & (added <= left)
            if not self.exact:
                fits &= failures < TRIES_IN_A_ROW
                failures = torch.where(fits, 0, failures + 1)
            masked |= block & fits.view(-1, 1, 1)
            left = left - added * fits
        if self.exact:
            masked = _fill_up(masked, left, generator)
        known = count * self.unit**2 if self.exact and low == high else None
        return TokenMask(spread_units(masked.flatten(1), cells, self.unit), num_masked=known, masked_per_row=per_row)


def _fill_up(masked: torch.Tensor, left: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Hides ``left`` (B,) more patches of ``masked`` (B, h, w), neighbours of hidden ones first."""
    grown = F.max_pool2d(masked.float().unsqueeze(1), 3, stride=1, padding=1).squeeze(1) > 0
    noise = torch.rand(masked.shape, generator=generator, device=masked.device)
    order = noise + (~grown).float() + 2 * masked.float()  # neighbours in [0, 1), others in [1, 2), hidden last
    rank = order.flatten(1).argsort(1).argsort(1).view(masked.shape)
    return masked | (rank < left.view(-1, 1, 1))
