import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, Dataset

from mimselfsup.datasets import EpochIndex, EpochSampler, SeedSample


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
