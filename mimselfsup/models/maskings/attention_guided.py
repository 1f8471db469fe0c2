"""MST's masking: a few of the least attended patches."""

import torch

from mimselfsup.registry import MASKINGS
from mimselfsup.structures import TokenMask

from .base import BaseMasking, saliency_ranks, spread_units, sum_units, unit_grid


@MASKINGS.register_module()
class AttentionGuidedMasking(BaseMasking):
    """Hides each of the floor(N / num) least salient patches of a row with probability ``p``, independently.

    Salient patches are never hidden, the opposite of AttMask. With the published num=8, p=0.1 only 2.4 of
    196 patches are hidden on average and 8% of the rows have none; num=1 makes every patch a candidate.
    Candidates go by rank, so every row has equally many; among equally salient patches they are drawn.

    ``unit`` is the side of the square of patches that is ranked, by the sum of its saliency, and hidden as one; N is
    then the number of units. 8 for Swin's 4 px: of its 49 units of 32 px 6 are candidates.

    Source: MST, arXiv 2106.05656, eq. 5 and text (its Algorithm 1 has the branches the other way round).
    """

    needs_saliency = True

    def __init__(self, num: int = 8, p: float = 0.1, unit: int = 1) -> None:
        super().__init__()
        if num != int(num) or num < 1:
            raise ValueError(
                f'AttentionGuidedMasking: num={num}, must be a whole number of at least 1; 1 / num of the patches '
                f'are candidates'
            )
        if not 0 <= p <= 1:
            raise ValueError(
                f'AttentionGuidedMasking: p={p}, must lie in [0, 1]; it is the probability that a candidate is hidden'
            )
        self.num = int(num)
        self.p = p
        self.unit = unit

    def draw(self, grid, batch_size, saliency, generator, device):
        cells = unit_grid('AttentionGuidedMasking', grid, self.unit)
        saliency = sum_units(saliency, cells, self.unit)
        total = saliency.shape[1]
        candidates = total // self.num
        least = saliency_ranks(saliency, generator) >= total - candidates
        hit = torch.rand(saliency.shape, generator=generator, device=device) < self.p
        constant = {0: 0, 1: candidates * self.unit**2}.get(self.p)
        return TokenMask(spread_units(least & hit, cells, self.unit), num_masked=constant)
