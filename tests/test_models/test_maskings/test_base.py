"""What holds for every registered strategy, and the shared parts: call, checks, gate, count rule."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mimselfsup.models.maskings import BaseMasking, RandomMasking, share_to_count
from mimselfsup.models.maskings.base import saliency_ranks, sum_units
from mimselfsup.registry import MASKINGS
from mimselfsup.structures import TokenMask

# Every strategy in each of its ways of working; a newly registered one has to be added here.
CASES = {
    'random': dict(type='RandomMasking', mask_ratio=0.75),
    'random-units-ceil': dict(type='RandomMasking', mask_ratio=0.6, unit=2, count='ceil'),
    'random-per-image': dict(type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    'grid': dict(type='GridMasking', mask_ratio=0.75),
    'block': dict(type='BlockMasking', mask_ratio=0.4, min_block=4),
    'block-at-most': dict(type='BlockMasking', mask_ratio=0.4, min_block=4, exact=False),
    'block-per-image': dict(type='BlockMasking', mask_ratio=(0.1, 0.5), min_block=4, mask_prob=0.5),
    'block-units': dict(type='BlockMasking', mask_ratio=0.5, min_block=1, unit=2),
    'attmask-high': dict(type='AttMask', mode='high'),
    'attmask-low': dict(type='AttMask', mode='low', mask_ratio=0.3),
    'attmask-hint': dict(type='AttMask', mode='hint', mask_ratio=0.5, show_ratio=0.9, show_max=0.3),
    'attmask-hint-few-masked': dict(type='AttMask', mode='hint', mask_ratio=0.1, show_ratio=0.3, show_max=0.3),
    'attmask-gated': dict(type='AttMask', mode='high', mask_prob=0.5),
    'guided': dict(type='AttentionGuidedMasking', num=2, p=0.5),
    'attmask-units': dict(type='AttMask', mode='hint', mask_ratio=0.5, show_ratio=0.5, show_max=0.5, unit=2),
    'guided-all': dict(type='AttentionGuidedMasking', num=4, p=1),
    'guided-units': dict(type='AttentionGuidedMasking', num=2, p=0.5, unit=2),
    'driven': dict(type='AttentionDrivenMasking', mask_ratio=0.75),
    'driven-middle': dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4),
    'driven-low': dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4, throw='low'),
    'driven-random': dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4, throw='random'),
    'driven-units': dict(
        type='AttentionDrivenMasking', mask_ratio=0.44, throw_ratio=0.26, unit=2, count='ceil', mask_prob=0.5
    ),
}
GRIDS = [(4, 6), (14, 14)]
every_case = pytest.mark.parametrize('case', CASES)


def draw(case: str, grid, rows: int, seed: int = 0) -> TokenMask:
    saliency = torch.rand(rows, grid[0] * grid[1], generator=torch.Generator().manual_seed(77))
    return MASKINGS.build(CASES[case])(grid, rows, saliency, torch.Generator().manual_seed(seed))


def test_every_registered_strategy_has_a_case():
    assert {case['type'] for case in CASES.values()} == set(MASKINGS.module_dict)


@every_case
@pytest.mark.parametrize('grid', GRIDS)
def test_masked_thrown_and_visible_cover_the_grid_once(case, grid):
    mask = draw(case, grid, rows=9)
    sets = torch.stack([mask.masked, mask.thrown, mask.visible])
    assert sets.dtype == torch.bool
    assert sets.shape == (3, 9, grid[0] * grid[1])
    assert (sets.sum(0) == 1).all()
    assert mask.masked.any()
    assert MASKINGS.build(CASES[case]).throws == bool(mask.thrown.any())


@every_case
@pytest.mark.parametrize('grid', GRIDS)
def test_counts_that_a_strategy_states_are_those_of_every_row(case, grid):
    mask = draw(case, grid, rows=50)
    counted = TokenMask(mask.masked, mask.thrown)
    assert mask.counts == counted.counts
    if mask.num_masked is not None:
        assert mask.masked.sum(1).tolist() == [mask.num_masked] * 50
    if mask.num_thrown is not None:
        assert mask.thrown.sum(1).tolist() == [mask.num_thrown] * 50


@pytest.mark.parametrize('case', [name for name in CASES if 'per-image' in name or 'gated' in name])
def test_counts_that_vary_are_not_stated(case):
    assert draw(case, (14, 14), rows=4).num_masked is None


@every_case
def test_equal_generators_give_equal_masks(case):
    first, again, other = (draw(case, (14, 14), rows=20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.masked, again.masked)
    assert torch.equal(first.thrown, again.thrown)
    # Fixed by the saliency (all values differ) or by the grid alone:
    deterministic = {'grid', 'attmask-low', 'guided-all'}
    assert torch.equal(first.masked, other.masked) == (case in deterministic)


@every_case
def test_without_a_generator_the_global_seed_decides(case):
    masks = []
    for _ in range(2):
        torch.manual_seed(5)
        masks.append(MASKINGS.build(CASES[case])((4, 6), 8, torch.linspace(0, 1, 24).repeat(8, 1)).masked)
    assert torch.equal(*masks)


FIXED_BY_SALIENCY = {'grid', 'attmask-low', 'attmask-high', 'attmask-gated', 'guided-all'}


@pytest.mark.parametrize('case', [name for name in CASES if name not in FIXED_BY_SALIENCY])
def test_rows_are_drawn_independently(case):
    saliency = torch.linspace(0.5, 1, 196).repeat(12, 1)
    mask = MASKINGS.build(CASES[case])((14, 14), 12, saliency, torch.Generator().manual_seed(0))
    rows = mask.masked[mask.masked.any(1)]
    assert len(rows.unique(dim=0)) == len(rows) > 1


@pytest.mark.parametrize('case', [name for name in CASES if not {'grid', 'units'} & set(name.split('-'))])
def test_a_grid_of_one_patch(case):
    mask = draw(case, (1, 1), rows=3)
    sets = torch.stack([mask.masked, mask.thrown, mask.visible])
    assert (sets.sum(0) == 1).all()
    mask.masked_subset, mask.visible_subset, mask.masked_in_kept  # noqa: B018  (may be empty, must not fail)


@pytest.mark.parametrize('name', [n for n, case in CASES.items() if case['type'] != 'AttentionGuidedMasking'])
def test_mask_prob_is_the_share_of_masked_rows(name):
    rows, share = 3000, 0.3
    saliency = torch.rand(rows, 64, generator=torch.Generator().manual_seed(3))
    config = dict(CASES[name], mask_prob=share)
    mask = MASKINGS.build(config)((8, 8), rows, saliency, torch.Generator().manual_seed(2))
    ungated = MASKINGS.build(dict(config, mask_prob=1.0))((8, 8), rows, saliency, torch.Generator().manual_seed(2))
    on = mask.masked.any(1)
    assert abs(on.sum().item() - rows * share) < 4 * math.sqrt(rows * share * (1 - share))
    assert torch.equal(mask.masked, ungated.masked & on.unsqueeze(1))
    assert torch.equal(mask.thrown, ungated.thrown & on.unsqueeze(1))


def test_mask_prob_zero_and_one():
    none = RandomMasking(0.75, mask_prob=0.0)((4, 4), 200)
    assert not none.masked.any()
    every = RandomMasking(0.75, mask_prob=1.0)((4, 4), 200)
    assert every.masked.any(1).all()


def test_a_gated_row_that_throws_nothing_leaves_that_known():
    assert RandomMasking(0.75, mask_prob=0.5)((4, 4), 8).num_thrown == 0


# What a strategy draws on the host, it knows without asking the device; a fake tensor cannot be asked at all.
DRAWN_ON_HOST = [name for name, case in CASES.items() if case.get('mask_prob', 1) < 1 or name == 'attmask-high']


@pytest.mark.parametrize('case', ['random', 'grid', 'block'])
def test_device_argument(case):
    with FakeTensorMode():
        mask = MASKINGS.build(CASES[case])((14, 14), 2, device='cuda')
    assert mask.masked.device.type == mask.thrown.device.type == 'cuda'


@pytest.mark.parametrize('case', [name for name in CASES if name not in DRAWN_ON_HOST])
def test_nothing_waits_for_the_device(case):
    """On fake CUDA tensors every read back to the host raises. (Drawn on the host: the next test.)"""
    with FakeTensorMode():
        saliency = torch.rand(2, 196, device='cuda')
        mask = MASKINGS.build(CASES[case])((14, 14), 2, saliency)
        if mask.num_masked is not None and mask.num_thrown is not None:
            assert mask.masked_subset.index.shape == (2, mask.num_masked)
        else:
            with pytest.raises(DataDependentOutputException):  # the read back that a stated count saves
                mask.masked_subset  # noqa: B018
    assert mask.masked.device.type == 'cuda'


@pytest.mark.parametrize('case', CASES)
def test_numbers_that_are_stated_are_right(case):
    torch.manual_seed(0)
    for _ in range(5):
        mask = MASKINGS.build(CASES[case])((14, 14), 6, torch.rand(6, 196))
        assert mask.masked_per_row in (None, tuple(mask.masked.sum(1).tolist()))
        assert torch.equal(mask.masked_places, mask.masked.flatten().nonzero()[:, 0])
        if case in ('random-per-image', 'attmask-gated', 'block-per-image'):
            assert mask.masked_per_row is not None
            assert all(piece.masked_per_row == tuple(piece.masked.sum(1).tolist()) for piece in mask.chunk(3))


SALIENT = [name for name, case in CASES.items() if MASKINGS.get(case['type']).needs_saliency]
needs_saliency = pytest.mark.parametrize('case', SALIENT)


@needs_saliency
def test_missing_saliency(case):
    with pytest.raises(ValueError, match='ranks patches by saliency, but got none'):
        MASKINGS.build(CASES[case])((4, 6), 2)


@needs_saliency
@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, -0.1])
def test_saliency_that_is_no_weight(case, bad):
    saliency = torch.rand(3, 24)
    saliency[1, 5] = saliency[2, 0] = bad
    message = rf'2 of 72 saliency values are NaN, infinite or negative, the first is {bad:.1f}.* in row 1 at patch 5'
    with pytest.raises(ValueError, match=message):
        MASKINGS.build(CASES[case])((4, 6), 3, saliency)


@pytest.mark.parametrize('case', ['attmask-low', 'guided', 'driven'])
def test_on_cuda_bad_saliency_is_an_assertion_of_the_device(case, monkeypatch):
    seen = []
    monkeypatch.setattr(torch, '_assert_async', lambda condition, message: seen.append((condition, message)))
    with FakeTensorMode():
        MASKINGS.build(CASES[case])((4, 6), 2, torch.rand(2, 24, device='cuda'))
    ((condition, message),) = seen
    assert condition.device.type == 'cuda' and condition.shape == ()
    assert 'saliency holds values that are NaN, infinite or negative' in message


def test_saliency_of_half_precision_is_ranked_in_single():
    saliency = torch.rand(4, 24).half()
    masking = MASKINGS.build(CASES['attmask-low'])
    assert torch.equal(masking((4, 6), 4, saliency).masked, masking((4, 6), 4, saliency.float()).masked)


def test_saliency_of_the_wrong_shape():
    masking = MASKINGS.build(CASES['attmask-high'])
    with pytest.raises(ValueError, match=r'AttMask: saliency is \(2, 25\), expected \(2, 24\): drop the class column'):
        masking((4, 6), 2, torch.rand(2, 25))
    with pytest.raises(ValueError, match=r'saliency is \(3, 24\), expected \(2, 24\)$'):
        masking((4, 6), 2, torch.rand(3, 24))


def test_a_strategy_without_need_for_saliency_does_not_look_at_it():
    saliency = torch.full((2, 24), math.nan)
    assert MASKINGS.build(CASES['random'])((4, 6), 2, saliency).num_masked == 18


@pytest.mark.parametrize('grid', [(0, 4), (4, -1)])
def test_grid_without_patches(grid):
    with pytest.raises(ValueError, match=r'RandomMasking: grid=.*, must be two numbers of at least 1'):
        RandomMasking(0.5)(grid, 2)


@pytest.mark.parametrize('share', [-0.1, 1.1])
def test_wrong_mask_prob(share):
    with pytest.raises(ValueError, match=rf'RandomMasking: mask_prob={share}, must lie in \[0, 1\]'):
        RandomMasking(0.5, mask_prob=share)


def test_a_subclass_has_to_draw():
    with pytest.raises(NotImplementedError):
        BaseMasking()((2, 2), 1)


@pytest.mark.parametrize(
    ('share', 'total', 'rule', 'count'),
    [
        (0.6, 196, 'floor', 117),
        (0.6, 196, 'ceil', 118),
        (0.6, 196, 'round', 118),
        (0.29, 100, 'floor', 29),  # 28.999999999999996
        (0.07, 100, 'ceil', 7),  # 7.000000000000001
        (0.1, 196, 'floor', 19),
        (0.5, 49, 'ceil', 25),
        (0.0, 196, 'ceil', 0),
        (1.0, 196, 'floor', 196),
    ],
)
def test_share_to_count(share, total, rule, count):
    assert share_to_count(share, total, rule) == count


def test_equally_salient_patches_are_ordered_at_random_and_others_by_value():
    saliency = torch.tensor([3.0, 1.0, 1.0, 1.0, 2.0]).repeat(6000, 1)
    rank = saliency_ranks(saliency, torch.Generator().manual_seed(0))
    assert (rank[:, 0] == 0).all() and (rank[:, 4] == 1).all()
    assert (rank.sort(1).values == torch.arange(5)).all()
    orders, times = rank[:, 1:4].unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert (times - 1000).abs().max() < 4.5 * math.sqrt(6000 * 5 / 36)


def test_units_add_up_their_patches():
    saliency = torch.rand(3, 24, generator=torch.Generator().manual_seed(0))
    expected = [
        [row.view(4, 6)[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() for i in range(2) for j in range(3)]
        for row in saliency
    ]
    torch.testing.assert_close(sum_units(saliency, (2, 3), 2), torch.tensor(expected))


@pytest.mark.parametrize('case', [name for name in CASES if 'units' in name])
def test_units_are_hidden_whole_and_must_tile_the_grid(case):
    mask = draw(case, (4, 6), rows=40)
    for member in (mask.masked, mask.thrown):
        squares = member.view(40, 2, 2, 3, 2).transpose(2, 3).flatten(3)
        assert torch.equal(squares.all(3), squares.any(3))
    with pytest.raises(ValueError, match=r'unit=2 does not tile the grid of 4 x 7'):
        draw(case, (4, 7), rows=1)
