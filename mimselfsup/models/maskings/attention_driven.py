"""AMT's masking and throwing: a random order in which salient patches tend to come first."""

import torch

from mimselfsup.registry import MASKINGS
from mimselfsup.structures import TokenMask

from .base import (
    COUNT_RULES,
    BaseMasking,
    hide_lowest,
    ranks,
    share_to_count,
    spread_units,
    sum_units,
    unit_grid,
)

THROWS = ('middle', 'low', 'random')
FLOOR = 1e-6


@MASKINGS.register_module()
class AttentionDrivenMasking(BaseMasking):
    """Draws all patches one after the other without replacement, with the saliency as weights.

    The first ones drawn are masked, the next ones thrown (they enter neither encoder, decoder nor loss), the rest
    stays visible. Any order is possible: one with a dominant patch masks it almost surely, a constant map
    masks uniformly at random. Scale of the saliency does not matter.

    Args:
        mask_ratio: r, share that is masked.
        throw_ratio: t, share that is thrown; 0 is attention-driven masking alone ("AM").
        unit: side of the square of patches that is drawn as one, with the sum of their weights; 2 for SimMIM
            with 16 px patches.
        throw: what is thrown: 'middle' is AMT; 'low' the last ones drawn (the middle stays visible);
            'random' any of those that are not masked, uniformly.
        count: of U units, 'floor' masks floor(r U) and throws floor((r + t) U) - floor(r U), AMT's rule on
            MAE; 'ceil' masks ceil(r U) and throws ceil(t U), or what is left, its rule on SimMIM. 'round' is
            as 'floor'.
        mask_prob: share of the images that are masked at all; the others keep all their patches.

    Weights below 1e-6 of the mean of their row are raised to it, so that patches of no saliency (min-max
    normalisation always makes one) come last in random, not in fixed order; a row of zeros is a row of ones.

    Source: "Good helper is around you: Attention-driven Masked Image Modeling" (AMT), eq. 5-6; the count
    rules are those of its code (guijiejie/AMT).
    """

    needs_saliency = True

    def __init__(
        self,
        mask_ratio: float,
        throw_ratio: float = 0.0,
        unit: int = 1,
        throw: str = 'middle',
        count: str = 'floor',
        mask_prob: float = 1.0,
    ) -> None:
        super().__init__(mask_prob)
        for name, value in dict(mask_ratio=mask_ratio, throw_ratio=throw_ratio).items():
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(
                    f'AttentionDrivenMasking: {name}={value}, must be one number in [0, 1]; it is a share of the '
                    f'patches'
                )
        if mask_ratio + throw_ratio > 1 + 1e-9:
            raise ValueError(
                f'AttentionDrivenMasking: mask_ratio={mask_ratio} and throw_ratio={throw_ratio} add up to more '
                f'than 1; what they leave stays visible'
            )
        if throw not in THROWS:
            raise ValueError(f'AttentionDrivenMasking: throw={throw!r}, must be one of {THROWS}')
        if count not in COUNT_RULES:
            raise ValueError(f'AttentionDrivenMasking: count={count!r}, must be one of {COUNT_RULES}')
        self.mask_ratio = mask_ratio
        self.throw_ratio = throw_ratio
        self.throws = throw_ratio > 0
        self.unit = unit
        self.throw = throw
        self.count = count

    def unit_counts(self, units: int) -> tuple[int, int]:
        """How many of ``units`` are masked and how many thrown."""
        masked = share_to_count(self.mask_ratio, units, self.count)
        if self.count == 'ceil':
            return masked, min(share_to_count(self.throw_ratio, units, 'ceil'), units - masked)
        return masked, share_to_count(self.mask_ratio + self.throw_ratio, units, self.count) - masked

    def draw(self, grid, batch_size, saliency, generator, device):
        cells = unit_grid('AttentionDrivenMasking', grid, self.unit)
        units = cells[0] * cells[1]
        num_masked, num_thrown = self.unit_counts(units)

        peak = saliency.amax(1, keepdim=True)
        weights = torch.where(peak > 0, saliency / peak, 1.0)
        weights = sum_units(weights, cells, self.unit)
        weights = weights.maximum(FLOOR * weights.mean(1, keepdim=True))
        # Sequential draws with these weights = descending log weight + Gumbel noise (Plackett-Luce).
        gumbel = -torch.empty_like(weights).exponential_(generator=generator).log()
        rank = ranks(-(weights.log() + gumbel))

        masked = rank < num_masked
        if self.throw == 'middle':
            thrown = ~masked & (rank < num_masked + num_thrown)
        elif self.throw == 'low':
            thrown = rank >= units - num_thrown
        else:
            noise = torch.rand(rank.shape, generator=generator, device=device)
            thrown = hide_lowest(noise + masked, num_thrown)
        size = self.unit**2
        return TokenMask(
            spread_units(masked, cells, self.unit),
            spread_units(thrown, cells, self.unit),
            num_masked=num_masked * size,
            num_thrown=num_thrown * size,
        )
