import pickle
import random
from itertools import count, islice

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mimselfsup.datasets import (
    EndlessSampler,
    EpochIndex,
    EpochSampler,
    ResumableBatchSampler,
    SeededDataset,
    SeedSample,
)
from mimselfsup.registry import DATA_SAMPLERS, DATASETS


class Noise(Dataset):
    """What SeedSample makes of an index: one number of each generator."""

    def __init__(self, size: int = 12) -> None:
        self.size = size
        self.seed_sample = SeedSample()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index) -> torch.Tensor:
        self.seed_sample(dict(sample_idx=index))
        return torch.tensor([float(index), random.random(), np.random.rand(), torch.rand(()).item()]).double()


def drawn(sampler, workers: int = 0) -> torch.Tensor:
    loader = DataLoader(Noise(len(sampler.dataset)), batch_size=3, sampler=sampler, num_workers=workers)
    return torch.cat(list(loader))


@pytest.fixture
def as_rank(monkeypatch):
    def build(rank: int, world: int, size: int, **kwargs) -> EpochSampler:
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world))
        return EpochSampler(range(size), **kwargs)

    return build


def test_the_order_is_that_of_mmengine():
    ours, theirs = EpochSampler(range(10), seed=3), DefaultSampler(range(10), seed=3)
    for epoch in range(3):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        indices = list(ours)
        assert indices == list(theirs)
        assert all((index.epoch, index.seed) == (epoch, 3) for index in indices)


def test_an_index_survives_the_way_to_a_worker():
    index = pickle.loads(pickle.dumps(EpochIndex(7, epoch=2, seed=5)))
    assert index == 7 and (index.epoch, index.seed) == (2, 5)


def test_random_numbers_depend_on_seed_epoch_and_index_alone():
    reference = drawn(EpochSampler(range(12), seed=1))
    torch.manual_seed(99)
    assert torch.equal(drawn(EpochSampler(range(12), seed=1)), reference)
    assert torch.equal(drawn(EpochSampler(range(12), seed=1), workers=2), reference)
    # The same sample in another epoch, or under another seed, is another draw.
    by_index = {row[0].item(): row[1:] for row in reference}
    later = EpochSampler(range(12), seed=1)
    later.set_epoch(1)
    for row in [*drawn(later), *drawn(EpochSampler(range(12), seed=2))]:
        assert (by_index[row[0].item()] != row[1:]).all()
    assert len(torch.unique(reference[:, 1])) == 12


def test_plain_indices_leave_the_generators_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    SeedSample()(dict(sample_idx=5))
    assert torch.equal(torch.rand(3), expected)


def test_processes_together_see_what_one_sees(as_rank):
    one = list(as_rank(0, 1, 26, seed=0, batches_of=8))
    two = [list(as_rank(rank, 2, 26, seed=0, batches_of=4)) for rank in (0, 1)]
    assert len(one) == 24 and [len(each) for each in two] == [12, 12]
    for step in range(3):
        together = two[0][4 * step : 4 * step + 4] + two[1][4 * step : 4 * step + 4]
        assert sorted(together) == sorted(one[8 * step : 8 * step + 8])


def test_samples_are_repeated_to_fill_all_processes(as_rank):
    parts = [list(as_rank(rank, 4, 10, seed=0)) for rank in range(4)]
    assert [len(part) for part in parts] == [3] * 4
    assert {index for part in parts for index in part} == set(range(10))


def test_too_few_samples_for_a_step_are_refused():
    with pytest.raises(ValueError, match=r'5 samples, fewer than one optimizer step takes: 8'):
        EpochSampler(range(5), batches_of=8)


def test_a_pass_can_start_within_an_epoch_once():
    sampler = EpochSampler(range(10), seed=0)
    whole = list(sampler)
    sampler.start_at(4)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole


def test_skipping_crosses_epochs_as_an_iteration_based_loop_needs_it():
    reference = EpochSampler(range(10), seed=0, batches_of=4)
    stream = []
    for epoch in range(4):
        reference.set_epoch(epoch)
        stream += [(index, index.epoch) for index in reference]
    resumed = EpochSampler(range(10), seed=0, batches_of=4)
    resumed.skip(12)  # one epoch of 8 and half of the next
    rest = [(index, index.epoch) for index in resumed]
    for restart in (1, 2):  # the loop counts its restarts from where it resumed
        resumed.set_epoch(restart)
        rest += [(index, index.epoch) for index in resumed]
    assert rest == stream[12:]


# ------------------------------------------------------------------- data and batches of other libraries


@DATA_SAMPLERS.register_module(force=True)
class OddOrEven(BatchSampler):
    """Batches of one kind, as mmdet makes them of one aspect ratio; what is left over at the end is mixed."""

    def __iter__(self):
        kinds = [], []
        for index in self.sampler:
            kind = kinds[index % 2]
            kind.append(index)
            if len(kind) == self.batch_size:
                yield kind[:]
                kind.clear()
        rest = kinds[0] + kinds[1]
        for first in range(0, len(rest), self.batch_size):
            yield rest[first : first + self.batch_size]


def test_the_endless_sampler_is_mmengines_and_knows_its_epoch():
    data = range(7)
    drawn = list(islice(iter(EndlessSampler(data, seed=3)), 21))
    assert drawn == list(islice(iter(InfiniteSampler(data, seed=3)), 21))
    assert [index.epoch for index in drawn] == [0] * 7 + [1] * 7 + [2] * 7
    assert {index.seed for index in drawn} == {3}
    later = EndlessSampler(data, seed=3)
    later.skip(9)
    assert [(index, index.epoch) for index in islice(iter(later), 12)] == [(i, i.epoch) for i in drawn[9:]]


def batches_of_a_kind(sampler):
    return ResumableBatchSampler(sampler(range(19), seed=1), 4, dict(type='mimselfsup.OddOrEven', drop_last=False))


@pytest.mark.parametrize('start', [0, 1, 3])
def test_batches_that_others_make_can_begin_late(start):
    whole = list(batches_of_a_kind(EpochSampler))
    late = batches_of_a_kind(EpochSampler)
    late.start_at(start)
    assert list(late) == whole[start:] and len(whole) == len(late) == 5
    late.sampler.set_epoch(1)
    assert list(late) != whole  # once only, and another epoch is another order
    assert sum(map(len, whole)) == 19


@pytest.mark.parametrize('sampler', [EpochSampler, EndlessSampler])
def test_batches_are_skipped_over_epochs(sampler):
    def stream(batches):
        for epoch in count():
            if epoch:
                batches.sampler.set_epoch(epoch)
            yield from batches

    whole = [[(i, i.epoch) for i in batch] for batch in islice(stream(batches_of_a_kind(sampler)), 14)]
    late = batches_of_a_kind(sampler)
    late.skip_batches(8)
    assert [[(i, i.epoch) for i in batch] for batch in islice(stream(late), 6)] == whole[8:]
    assert whole[8][0][1] >= 1


@DATASETS.register_module(force=True)
class Joined:
    """Two joined sets whose samples are random: the inner index says nothing of the epoch."""

    metainfo = dict(classes=('a', 'b'))  # noqa: RUF012

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple:
        inner = index % 3
        return inner, random.random(), np.random.rand(), torch.rand(()).item()


def test_any_data_set_is_seeded_by_epoch_and_index():
    data = SeededDataset(dict(type='mimselfsup.Joined'))
    first = {index: data[index] for index in EpochSampler(data, seed=0)}
    again = {index: data[index] for index in reversed(list(EpochSampler(data, seed=0)))}
    assert first == again and len(set(first.values())) == 6
    sampler = EpochSampler(data, seed=0)
    sampler.set_epoch(1)
    assert not {data[index][1:] for index in sampler} & {values[1:] for values in first.values()}
    assert len(data) == 6 and data.metainfo['classes'] == ('a', 'b')
    assert data[2] != data[2]  # a plain index leaves the generators alone
    copied = pickle.loads(pickle.dumps(data))  # as a spawned worker gets it
    assert copied[EpochIndex(4, 0, 0)] == first[4] and copied.metainfo == data.metainfo
    with pytest.raises(AttributeError):
        data.no_such_thing  # noqa: B018
