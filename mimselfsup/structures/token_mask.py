"""What a masking strategy decides about every patch token of a batch."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenSubset:
    """Where the tokens of one kind stand, for gathering them into a dense batch.

    ``index`` is (B, K) int64, ascending per row (row-major order of the grid). Rows with fewer than K tokens
    are padded with tokens of another kind; ``valid`` (B, K) is False there. ``valid`` is None when every
    row has exactly K, which is the fast path: no padding, no attention mask.
    """

    index: Tensor
    valid: Tensor | None

    def gather(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, K, D). Rows of a padded subset contain tokens that ``valid`` excludes."""
        return tokens.gather(1, self.index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


@dataclass(frozen=True, eq=False)
class TokenMask:
    """Three disjoint sets that cover the grid: ``masked``, ``thrown`` and ``visible``, bool (B, N).

    Masked tokens are hidden from the student and have to be predicted; thrown ones (AMT) enter neither
    encoder, decoder nor loss. Only patch tokens count: [CLS] and other extra tokens are never in a mask.

    ``num_masked`` and ``num_thrown`` may be given by a strategy that hides the same number in every row
    and knows it on the host; then nothing has to be read back from the device. So may ``masked_per_row``, where
    rows differ. They are trusted.
    """

    masked: Tensor
    thrown: Tensor | None = None
    num_masked: int | None = field(default=None, repr=False)
    num_thrown: int | None = field(default=None, repr=False)
    masked_per_row: tuple[int, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.thrown is None:
            object.__setattr__(self, 'thrown', torch.zeros_like(self.masked))
            object.__setattr__(self, 'num_thrown', 0)
        if self.num_masked is not None:
            object.__setattr__(self, 'masked_per_row', (self.num_masked,) * len(self.masked))
        for name in ('masked', 'thrown'):
            value = getattr(self, name)
            if value.dtype != torch.bool or value.ndim != 2:
                raise ValueError(f'TokenMask: {name} is {value.dtype} {tuple(value.shape)}, expected torch.bool (B, N)')
        if self.masked.shape != self.thrown.shape:
            raise ValueError(
                f'TokenMask: masked is {tuple(self.masked.shape)} but thrown is {tuple(self.thrown.shape)}'
            )

    @property
    def visible(self) -> Tensor:
        return ~(self.masked | self.thrown)

    @property
    def kept(self) -> Tensor:
        """Masked or visible: what is not thrown."""
        return ~self.thrown

    @cached_property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Fewest and most tokens per row, by kind. Waits for the device unless the strategy gave counts."""
        if self.masked_per_row is not None and self.num_thrown is not None:
            fewest, most = min(self.masked_per_row, default=0), max(self.masked_per_row, default=0)
            thrown, kept = self.num_thrown, self.masked.shape[1] - self.num_thrown
            return dict(
                masked=(fewest, most), thrown=(thrown, thrown), kept=(kept, kept), visible=(kept - most, kept - fewest)
            )
        kinds = ('masked', 'kept', 'visible') if self.num_thrown == 0 else ('masked', 'thrown', 'kept', 'visible')
        rows = torch.stack([getattr(self, kind).sum(1) for kind in kinds])  # (kinds, B)
        low, high = torch.stack([rows.amin(1), rows.amax(1)]).tolist()
        counts = {kind: (low[i], high[i]) for i, kind in enumerate(kinds)}
        return {'thrown': (0, 0), **counts}

    @cached_property
    def throws_nothing(self) -> bool:
        """Whether all tokens are kept. Waits for the device only where tokens may be thrown in unknown number."""
        return self.num_thrown == 0 or self.counts['thrown'] == (0, 0)

    @cached_property
    def masked_subset(self) -> TokenSubset:
        return self._subset('masked')

    @cached_property
    def visible_subset(self) -> TokenSubset:
        return self._subset('visible')

    @cached_property
    def kept_subset(self) -> TokenSubset:
        return self._subset('kept')

    @cached_property
    def masked_in_kept(self) -> TokenSubset:
        """The masked tokens, counted among those of ``kept_subset``: where an encoder that threw has them."""
        if self.throws_nothing:
            return self.masked_subset
        return self._gather_index('masked', self.masked.gather(1, self.kept_subset.index))

    @property
    def _total_masked(self) -> int | None:
        return None if self.masked_per_row is None else sum(self.masked_per_row)

    @cached_property
    def masked_places(self) -> Tensor:
        """(T,) int64, ascending: the masked tokens of the whole batch, as places in the flattened (B * N).

        Where rows differ this is what a layer over masked tokens should see: no padding. Waits for the device
        unless the strategy gave a count.
        """
        return _places(self.masked, self._total_masked)

    @cached_property
    def masked_places_in_kept(self) -> Tensor:
        """Like ``masked_places``, in the flattened (B * K) of the tokens of ``kept_subset``."""
        if self.throws_nothing:
            return self.masked_places
        kept = self.kept_subset
        member = self.masked.gather(1, kept.index)
        return _places(member if kept.valid is None else member & kept.valid, self._total_masked)

    def coarsened(self, grid: tuple[int, int], cells: int, only_whole: bool = False) -> 'TokenMask':
        """The mask of a grid whose tokens are squares of ``cells`` x ``cells`` of this one (Swin's output).

        A square is masked, or thrown, if all of it is. A strategy with a multiple of ``cells`` as its unit hides
        whole squares only; if the caller says so (``only_whole``, trusted), stated counts are carried over. Raises
        ValueError if the squares do not tile ``grid`` (h, w).
        """
        if cells == 1:
            return self
        height, width = grid
        if height % cells or width % cells or height * width != self.masked.shape[1]:
            raise ValueError(
                f'TokenMask: squares of {cells} do not tile a grid of {grid}, {self.masked.shape[1]} tokens'
            )

        def whole(member: Tensor) -> Tensor:
            squares = member.view(len(member), height // cells, cells, width // cells, cells)
            return squares.all(4).all(2).flatten(1)

        per_row = None
        if only_whole and self.masked_per_row is not None:
            per_row = tuple(count // cells**2 for count in self.masked_per_row)
        num_thrown = 0 if self.num_thrown == 0 else None
        return TokenMask(whole(self.masked), whole(self.thrown), num_thrown=num_thrown, masked_per_row=per_row)

    def _subset(self, kind: str) -> TokenSubset:
        return self._gather_index(kind, getattr(self, kind))

    def _gather_index(self, kind: str, member: Tensor) -> TokenSubset:
        fewest, most = self.counts[kind]
        # Stable sort of booleans: members first, both groups in row-major order.
        index = torch.argsort((~member).to(torch.uint8), dim=1, stable=True)[:, :most]
        valid = None if fewest == most else member.gather(1, index)
        return TokenSubset(index, valid)

    def chunk(self, pieces: int) -> list['TokenMask']:
        """The mask of rows ``[0, B / pieces)``, of the next ones, and so on. ``pieces`` must divide B."""
        if pieces < 1 or len(self.masked) % pieces:
            raise ValueError(f'TokenMask: {len(self.masked)} rows cannot be cut into {pieces} equal pieces')
        size = len(self.masked) // pieces
        known = self.masked_per_row
        return [
            TokenMask(
                self.masked[start : start + size],
                self.thrown[start : start + size],
                self.num_masked,
                self.num_thrown,
                known and known[start : start + size],
            )
            for start in range(0, len(self.masked), size)
        ]

    @classmethod
    def none(cls, batch_size: int, num_tokens: int, device: torch.device | str | None = None) -> 'TokenMask':
        """Nothing masked, nothing thrown."""
        return cls(torch.zeros(batch_size, num_tokens, dtype=torch.bool, device=device), num_masked=0)


def _places(member: Tensor, total: int | None) -> Tensor:
    """Where ``member``, bool (B, N), holds in its flattened form; ``total`` is how often, None to count."""
    member = member.flatten()
    if total is None:
        return member.nonzero().squeeze(1)
    # nonzero() has to tell the host how much it found. Here each finds its place in the answer by itself;
    # those that do not belong there share the one behind the end.
    place = torch.where(member, member.cumsum(0) - 1, total)
    found = torch.zeros(total + 1, dtype=torch.int64, device=member.device)
    return found.scatter_(0, place, torch.arange(len(member), device=member.device))[:total]
