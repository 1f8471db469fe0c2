import math

import pytest
import torch
from scipy import stats

from mimselfsup.models.maskings import RandomMasking


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ('arguments', 'grid', 'hidden'),
    [
        (dict(mask_ratio=0.75), (14, 14), 147),  # MAE, patch 16
        (dict(mask_ratio=0.75, count='ceil'), (16, 16), 192),  # MAE, patch 14
        (dict(mask_ratio=0.6, unit=2, count='ceil'), (14, 14), 120),  # SimMIM on ViT: 30 of 49 units
        (dict(mask_ratio=0.6, unit=8, count='ceil'), (48, 48), 1408),  # SimMIM on Swin at 192 px: 22 of 36
        (dict(mask_ratio=0.6), (14, 14), 117),
        (dict(mask_ratio=0.6, count='ceil'), (14, 14), 118),
        (dict(mask_ratio=0.29), (10, 10), 29),
        (dict(mask_ratio=0.5, count='round'), (3, 5), 8),
        (dict(mask_ratio=0.0), (3, 5), 0),
        (dict(mask_ratio=1.0), (3, 5), 15),
        (dict(mask_ratio=(0.75, 0.75)), (14, 14), 147),
    ],
)
def test_exact_count_in_every_row(arguments, grid, hidden):
    mask = RandomMasking(**arguments)(grid, 40)
    assert mask.masked.sum(1).tolist() == [hidden] * 40
    assert mask.num_masked == hidden
    assert mask.num_thrown == 0


def test_every_patch_is_hidden_equally_often_and_pairs_too():
    rows, total, hidden = 20000, 15, 6
    masked = RandomMasking(0.4)((3, 5), rows, generator=generator()).masked.double()
    share = hidden / total
    bound = stats.norm.isf(1e-3 / 2 / total) * math.sqrt(rows * share * (1 - share))
    assert (masked.sum(0) - rows * share).abs().max() < bound
    # Without replacement: two patches are hidden together with h (h - 1) / (n (n - 1)).
    together = masked.T @ masked
    pairs = together[torch.triu_indices(total, total, 1).unbind()]
    share = hidden * (hidden - 1) / (total * (total - 1))
    bound = stats.norm.isf(1e-3 / 2 / len(pairs)) * math.sqrt(rows * share * (1 - share))
    assert (pairs - rows * share).abs().max() < bound


@pytest.mark.parametrize(('grid', 'unit'), [((14, 14), 2), ((48, 48), 8), ((4, 6), 2), ((6, 3), 3)])
@pytest.mark.parametrize('ratio', [0.6, (0.2, 0.9)])
def test_units_are_hidden_as_a_whole(grid, unit, ratio):
    masked = RandomMasking(ratio, unit=unit)(grid, 20, generator=generator()).masked
    blocks = masked.view(20, grid[0] // unit, unit, grid[1] // unit, unit)
    inside = blocks.sum((2, 4))
    assert set(inside.unique().tolist()) <= {0, unit * unit}
    assert len(inside.flatten(1).unique(dim=0)) > 1  # not always the same units


@pytest.mark.parametrize('count', ['floor', 'ceil', 'round'])
def test_ratio_range_is_drawn_uniformly_for_each_image(count):
    rows = 8000
    mask = RandomMasking((0.1, 0.5), count=count)((10, 10), rows, generator=generator())
    hidden = mask.masked.sum(1)
    # U(10, 50) rounded: the inner numbers are equally likely; the ends depend on the rule.
    ends = dict(floor=(10, 49), ceil=(11, 50), round=(10, 50))[count]
    assert (hidden.min().item(), hidden.max().item()) == ends
    inner = torch.bincount(hidden, minlength=51)[11:50]
    assert stats.chisquare(inner).pvalue > 1e-3
    assert mask.num_masked is None


def test_ratio_range_hides_uniformly():
    masked = RandomMasking((0.1, 0.5))((3, 5), 8000, generator=generator(1)).masked.double()
    frequency = masked.mean(0)
    share = frequency.mean()
    bound = stats.norm.isf(1e-3 / 2 / 15) * (share * (1 - share) / 8000).sqrt()
    assert (frequency - share).abs().max() < bound


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(mask_ratio=1.2), r'RandomMasking: mask_ratio=1\.2, must be a number in \[0, 1\] or \(low, high\)'),
        (dict(mask_ratio=-0.1), r'mask_ratio=-0\.1'),
        (dict(mask_ratio=(0.5, 0.1)), r'mask_ratio=\(0\.5, 0\.1\)'),
        (dict(mask_ratio=(0.5, 1.1)), r'mask_ratio=\(0\.5, 1\.1\)'),
        (dict(mask_ratio=0.5, count='up'), r"count='up', must be one of \('floor', 'ceil', 'round'\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomMasking(**arguments)


@pytest.mark.parametrize(('grid', 'unit'), [((14, 15), 2), ((15, 14), 2), ((4, 4), 0)])
def test_units_that_do_not_tile(grid, unit):
    with pytest.raises(ValueError, match=rf'unit={unit} does not tile the grid of {grid[0]} x {grid[1]} patches'):
        RandomMasking(0.5, unit=unit)(grid, 2)
