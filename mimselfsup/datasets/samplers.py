"""Samplers whose order, augmentation seeds and position are functions of (seed, epoch, position) alone."""

from collections.abc import Iterator, Sized
from itertools import count, islice

import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, Sampler

from mimselfsup.registry import DATA_SAMPLERS


class EpochIndex(int):
    """The index of a sample that remembers in which ``epoch`` of which ``seed`` it was drawn."""

    epoch: int
    seed: int

    def __new__(cls, index: int, epoch: int = 0, seed: int = 0) -> 'EpochIndex':
        self = super().__new__(cls, index)
        self.epoch = epoch
        self.seed = seed
        return self

    def __getnewargs__(self) -> tuple[int, int, int]:
        return int(self), self.epoch, self.seed


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler`` that yields :class:`EpochIndex` and can start within an epoch.

    ``batches_of``: samples per process that make one optimizer step (batch size x accumulated batches). The
    tail of an epoch that does not fill such a step is left out, so that no gradient is carried from one
    epoch, or from one checkpoint, into the next; another permutation leaves out others. Raises ValueError
    if not one step is left.

    Process ``r`` of ``W`` takes every W-th sample: W processes together see, per step, the same samples as
    one process with W times the batch.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        batches_of: int = 1,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)
        if batches_of < 1:
            raise ValueError(f'EpochSampler: batches_of={batches_of}, must be at least 1')
        self.batches_of = batches_of
        if batches_of > 1:
            step = batches_of * self.world_size
            self.total_size = len(dataset) // step * step
            self.num_samples = self.total_size // self.world_size
            if not self.num_samples:
                raise ValueError(
                    f'the data set has {len(dataset)} samples, fewer than one optimizer step takes: {step} '
                    f'({batches_of} per process x {self.world_size}); lower train_dataloader.batch_size or '
                    f'the accumulation'
                )
        self._start = 0
        self._first_epoch = 0

    def __iter__(self) -> Iterator[EpochIndex]:
        indices = self._order()
        start, self._start = self._start, 0
        return (EpochIndex(index, self.epoch, self.seed) for index in indices[start:])

    def _order(self) -> list[int]:
        size = len(self.dataset)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            indices = torch.randperm(size, generator=generator).tolist()
        else:
            indices = list(range(size))
        if self.total_size > size:
            indices = (indices * (self.total_size // size + 1))[: self.total_size]
        return indices[self.rank : self.total_size : self.world_size]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = self._first_epoch + epoch

    def start_at(self, position: int) -> None:
        """Lets the next pass, and only that, begin at ``position`` (samples of this process)."""
        self._start = position

    def skip(self, num_samples: int) -> None:
        """Moves to ``num_samples`` from the very beginning; what an iteration-based loop calls on resume.

        Such a loop counts its epochs from where it started, hence the offset. It counts whole batches, so
        ``batches_of`` must be (a multiple of) the batch size there.
        """
        epochs, self._start = divmod(num_samples, self.num_samples)
        self._first_epoch = self.epoch = epochs


@DATA_SAMPLERS.register_module()
class EndlessSampler(InfiniteSampler):
    """MMEngine's ``InfiniteSampler``, in the same order, that yields :class:`EpochIndex`."""

    def _infinite_indices(self) -> Iterator[EpochIndex]:
        generator = torch.Generator().manual_seed(self.seed)
        for epoch in count():
            order = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
            yield from (EpochIndex(index, epoch, self.seed) for index in order.tolist())


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(BatchSampler):
    """Another batch sampler (``batch_sampler``, a config) that can begin late without loading its first batches.

    For those that decide by themselves what makes a batch, such as mmdet's ``AspectRatioBatchSampler``: to go on as
    they would have, they have to deal out all that was before, which takes indices but no pictures.
    """

    def __init__(self, sampler: Sampler, batch_size: int, batch_sampler: dict) -> None:
        self.batches = DATA_SAMPLERS.build(batch_sampler, default_args=dict(sampler=sampler, batch_size=batch_size))
        super().__init__(sampler, batch_size, getattr(self.batches, 'drop_last', False))
        self._start = 0

    def __iter__(self) -> Iterator[list[int]]:
        start, self._start = self._start, 0
        return islice(iter(self.batches), start, None)

    def __len__(self) -> int:
        return len(self.batches)

    def start_at(self, batch: int) -> None:
        """Lets the next pass, and only that, begin at its batch number ``batch``."""
        self._start = batch

    def skip_batches(self, number: int) -> None:
        """Moves to ``number`` batches from the very beginning, over as many passes as that takes."""
        epochs = 0
        if not isinstance(self.sampler, InfiniteSampler):
            epochs, number = divmod(number, len(self))
        if epochs and hasattr(self.sampler, 'skip'):
            self.sampler.skip(epochs * len(self.sampler))
        self.start_at(number)
