"""AttMask: hide what the teacher attends to, most of it or (as a control) least of it."""

import torch
from torch import Generator, Tensor

from mimselfsup.registry import MASKINGS
from mimselfsup.structures import TokenMask

from .base import (
    BaseMasking,
    check_share,
    ranks,
    saliency_ranks,
    share_to_count,
    spread_units,
    sum_units,
    unit_grid,
)

MODES = ('high', 'low', 'hint')


@MASKINGS.register_module()
class AttMask(BaseMasking):
    """Hides the most ('high') or least ('low') salient patches; 'hint' shows a few of the very top ones again.

    One ratio r per *call*, the same for all rows, and floor(r N) patches. For 'hint' a second number s is
    drawn, and of the floor(show_max N) most salient patches floor(show_max s N), chosen uniformly for each row,
    are shown. All shares are of the N patches of the grid, not of the masked ones.

    Args:
        mask_ratio: share hidden, or (low, high) to draw r from.
        mask_prob: share of the rows that are masked at all; a row is a view, so the two views of an image are
            gated independently. The published runs have 0.5.
        show_ratio: 'hint' only. s, or (low, high) to draw it from; None draws it from the range of
            ``mask_ratio``, independently of r, as the released code does; 'same' takes r itself, as a comment
            there has it.
        show_max: 'hint' only. Share of the patches, from the most salient down, among which hints are chosen.
        unit: side of the square of patches that is ranked, by the sum of its saliency, and hidden or shown as one; N is
            then the number of units.

    Equally salient patches are ordered at random, so that a constant map gives uniformly random masks and
    not the upper rows of the image. 'low' is the other end of the same order.

    Without a generator, or with one of the CPU, r is drawn on the host, which then knows how many are masked
    without asking the device; with a generator of the device r stays there.

    Source: AttMask, arXiv 2203.12719, and its code (gkakogeorgiou/attmask).
    """

    needs_saliency = True

    def __init__(
        self,
        mode: str = 'high',
        mask_ratio: float | tuple[float, float] = (0.1, 0.5),
        mask_prob: float = 1.0,
        show_ratio: float | tuple[float, float] | str | None = None,
        show_max: float = 0.1,
        unit: int = 1,
    ) -> None:
        super().__init__(mask_prob)
        if mode not in MODES:
            raise ValueError(f'AttMask: mode={mode!r}, must be one of {MODES}')
        self.mode = mode
        self.mask_ratio = check_share('AttMask', 'mask_ratio', mask_ratio)
        if show_ratio is None or show_ratio == 'same':
            self.show_ratio = self.mask_ratio
        elif isinstance(show_ratio, str):
            raise ValueError(f"AttMask: show_ratio={show_ratio!r}, must be a share, (low, high), None or 'same'")
        else:
            self.show_ratio = check_share('AttMask', 'show_ratio', show_ratio)
        self.one_draw = show_ratio == 'same'
        if not 0 <= show_max <= 1:
            raise ValueError(f'AttMask: show_max={show_max}, must lie in [0, 1]; it is a share of the patches')
        self.show_max = show_max
        self.unit = unit

    def draw(self, grid, batch_size, saliency, generator, device):
        cells = unit_grid('AttMask', grid, self.unit)
        saliency = sum_units(saliency, cells, self.unit)
        total = saliency.shape[1]
        ratio = _draw_share(self.mask_ratio, generator)
        hidden = _count(ratio, total)
        rank = saliency_ranks(saliency, generator)
        if self.mode == 'low':
            return self._mask(rank >= total - hidden, cells, hidden)
        masked = rank < hidden
        if self.mode == 'high':
            return self._mask(masked, cells, hidden)

        show = ratio if self.one_draw else _draw_share(self.show_ratio, generator)
        candidates = share_to_count(self.show_max, total)
        hints = _count(self.show_max * show, total)  # never more than the candidates, as show <= 1
        noise = torch.rand(saliency.shape, generator=generator, device=device)
        shown = ranks(noise + (rank >= candidates)) < hints
        known = None
        if isinstance(hidden, int) and isinstance(hints, int) and (hints == 0 or hidden >= candidates):
            known = hidden - hints  # otherwise a hint may fall on a patch that was not hidden
        return self._mask(masked & ~shown, cells, known)

    def _mask(self, units: Tensor, cells: tuple[int, int], count: int | Tensor | None) -> TokenMask:
        """``units``, bool (B, cells), of which ``count`` are True in each row."""
        known = count * self.unit**2 if isinstance(count, int) else None
        return TokenMask(spread_units(units, cells, self.unit), num_masked=known)


def _draw_share(bounds: tuple[float, float], generator: Generator | None) -> float | Tensor:
    """A number of [low, high]: on the host, unless ``generator`` is of another device, where it then stays."""
    low, high = bounds
    if low == high:
        return low
    if generator is None or generator.device.type == 'cpu':
        return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()
    # float64: in float32 the guard of 1e-6 of the count rule is lost from 16 patches on.
    uniform = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device)
    return low + (high - low) * uniform


def _count(share: float | Tensor, total: int) -> int | Tensor:
    """``share_to_count`` (floor), also of a share that stays on the device."""
    if isinstance(share, Tensor):
        return (share * total + 1e-6).floor().long()
    return share_to_count(share, total)
