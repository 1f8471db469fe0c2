"""What every masking strategy shares: the call, the checks and the rule that turns a share into a number."""

import math

import torch
from torch import Generator, Tensor

from mimselfsup.structures import TokenMask
from mimselfsup.structures.host_to_device import to_device

COUNT_RULES = ('floor', 'ceil', 'round')


def share_to_count(share: float, total: int, rule: str = 'floor') -> int:
    """The number of tokens that a share of ``total`` stands for.

    Published rules differ by one: of 196 patches 0.6 are 117 in AttMask (floor) and 118 with ceil. The
    guard of 1e-6 keeps floating point from losing one: floor(100 * 0.29) is 28 without it.
    """
    exact = share * total
    if rule == 'floor':
        return math.floor(exact + 1e-6)
    if rule == 'ceil':
        return math.ceil(exact - 1e-6)
    return round(exact)


def check_share(owner: str, name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    """(low, high) of a share in [0, 1], given as a number or as a pair to draw from."""
    low, high = value if isinstance(value, tuple | list) else (value, value)
    if not (0 <= low <= high <= 1):
        raise ValueError(
            f'{owner}: {name}={value}, must be a number in [0, 1] or (low, high) with 0 <= low <= high <= 1; '
            f'it is a share of the patches'
        )
    return float(low), float(high)


class BaseMasking:
    """A strategy: called with a grid and a batch size, it answers with a :class:`TokenMask`.

    A subclass implements :meth:`draw` and sees neither images nor a model. All random numbers come from
    ``generator`` (the device's default one if None), so equal generators give equal masks.

    Class attributes: ``needs_saliency`` (checked when the algorithm is built), ``throws`` (whether tokens
    may be thrown).
    """

    needs_saliency = False
    throws = False

    def __init__(self, mask_prob: float = 1.0) -> None:
        if not 0 <= mask_prob <= 1:
            raise ValueError(
                f'{type(self).__name__}: mask_prob={mask_prob}, must lie in [0, 1]; it is the share of the '
                f'views that are masked at all'
            )
        self.mask_prob = mask_prob

    @torch.no_grad()
    def __call__(
        self,
        grid: tuple[int, int],
        batch_size: int,
        saliency: Tensor | None = None,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> TokenMask:
        """Args: ``grid`` (h, w) in patch tokens; ``saliency`` (B, h * w), >= 0, or None.

        Raises ValueError for a grid, or a saliency, that does not fit, and for saliency that is NaN, infinite or
        negative where it is needed (on CUDA: see :func:`check_saliency`).
        """
        height, width = grid
        if height < 1 or width < 1:
            raise ValueError(f'{type(self).__name__}: grid={grid}, must be two numbers of at least 1')
        if saliency is None and self.needs_saliency:
            raise ValueError(f'{type(self).__name__} ranks patches by saliency, but got none')
        if saliency is not None:
            expected = (batch_size, height * width)
            if tuple(saliency.shape) != expected:
                hint = ': drop the class column' if saliency.shape[-1] == height * width + 1 else ''
                raise ValueError(
                    f'{type(self).__name__}: saliency is {tuple(saliency.shape)}, expected {expected}{hint}'
                )
            saliency = saliency.float()
            device = saliency.device
            if self.needs_saliency:
                check_saliency(type(self).__name__, saliency)
        mask = self.draw((height, width), batch_size, saliency, generator, torch.device(device or 'cpu'))
        return self._gate(mask, generator)

    def draw(
        self,
        grid: tuple[int, int],
        batch_size: int,
        saliency: Tensor | None,
        generator: Generator | None,
        device: torch.device,
    ) -> TokenMask:
        raise NotImplementedError

    def _gate(self, mask: TokenMask, generator: Generator | None) -> TokenMask:
        """Leaves a row unmasked with probability 1 - mask_prob."""
        if self.mask_prob >= 1:
            return mask
        device = mask.masked.device
        host = generator is None or generator.device.type == 'cpu'
        # Drawn on the host where that is possible, which then knows how many tokens are masked.
        drawn = torch.rand(len(mask.masked), 1, generator=generator, device='cpu' if host else device)
        on = drawn < self.mask_prob
        known = None
        if host and mask.masked_per_row is not None:
            known = tuple(count * flag for count, flag in zip(mask.masked_per_row, on[:, 0].tolist(), strict=True))
        on = to_device(on, device)
        thrown = 0 if mask.num_thrown == 0 else None
        return TokenMask(mask.masked & on, mask.thrown & on, num_thrown=thrown, masked_per_row=known)


def check_saliency(owner: str, saliency: Tensor) -> None:
    """Raises ValueError if any of the (B, N) values is NaN, infinite or negative.

    On CUDA, where reading the answer would make the step wait, it is a device-side assertion instead: an
    error that surfaces at a later call.
    """
    good = saliency.isfinite() & (saliency >= 0)
    if saliency.device.type == 'cuda':
        torch._assert_async(good.all(), f'{owner}: saliency holds values that are NaN, infinite or negative')
    elif not good.all():
        row, patch = (~good).nonzero()[0].tolist()
        raise ValueError(
            f'{owner}: {int((~good).sum())} of {good.numel()} saliency values are NaN, infinite or negative, the '
            f'first is {saliency[row, patch].item()} in row {row} at patch {patch}; they are weights, finite and '
            f'>= 0. NaN in attention means that the encoder diverged; check its loss'
        )


def ranks(keys: Tensor) -> Tensor:
    """(B, N) -> int64 (B, N): the place of each entry in the ascending order of its row."""
    return keys.argsort(1).argsort(1)


def saliency_ranks(saliency: Tensor, generator: Generator | None) -> Tensor:
    """(B, N) -> int64 (B, N): 0 at the most salient patch of a row; equal ones are in random order.

    Equal values are common in maps stored as float16, and a map may be constant: an order by index would
    then hide the same corner of every image.
    """
    shuffle = torch.rand(saliency.shape, generator=generator, device=saliency.device).argsort(1)
    descending = saliency.gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    return shuffle.gather(1, descending).argsort(1)


def hide_lowest(noise: Tensor, count: int) -> Tensor:
    """bool (B, N): True at the ``count`` smallest entries of each row of ``noise`` (B, N)."""
    hidden = torch.zeros_like(noise, dtype=torch.bool)
    return hidden.scatter_(1, noise.topk(count, dim=1, largest=False).indices, True)


def unit_grid(owner: str, grid: tuple[int, int], unit: int) -> tuple[int, int]:
    """The grid of square units of ``unit`` patches. Raises ValueError if they do not tile the grid."""
    if unit < 1 or grid[0] % unit or grid[1] % unit:
        raise ValueError(
            f'{owner}: unit={unit} does not tile the grid of {grid[0]} x {grid[1]} patches; '
            f'both sides must be multiples of it'
        )
    return grid[0] // unit, grid[1] // unit


def sum_units(saliency: Tensor, cells: tuple[int, int], unit: int) -> Tensor:
    """(B, patches) -> (B, cells): the saliency of a unit is the sum over its patches."""
    if unit == 1:
        return saliency
    return saliency.view(len(saliency), cells[0], unit, cells[1], unit).sum((2, 4)).flatten(1)


def spread_units(units: Tensor, cells: tuple[int, int], unit: int) -> Tensor:
    """(B, cells) -> (B, patches): every patch gets the value of its unit."""
    if unit == 1:
        return units
    square = units.view(len(units), *cells)
    return square.repeat_interleave(unit, 1).repeat_interleave(unit, 2).flatten(1)
