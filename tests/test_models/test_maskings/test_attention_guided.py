import math

import pytest
import torch
from scipy import stats

from mimselfsup.models.maskings import AttentionGuidedMasking


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def lowest(saliency: torch.Tensor, count: int) -> torch.Tensor:
    """The brute force: sort the patches of each row in Python."""
    expected = torch.zeros_like(saliency, dtype=torch.bool)
    for row, values in enumerate(saliency.tolist()):
        for patch in sorted(range(len(values)), key=values.__getitem__)[:count]:
            expected[row, patch] = True
    return expected


@pytest.mark.parametrize(('num', 'candidates'), [(1, 196), (2, 98), (4, 49), (8, 24), (196, 1), (197, 0)])
def test_candidates_are_the_least_attended(num, candidates):
    saliency = torch.rand(10, 196, generator=generator())
    mask = AttentionGuidedMasking(num=num, p=1)((14, 14), 10, saliency)
    assert torch.equal(mask.masked, lowest(saliency, candidates))
    assert mask.num_masked == candidates


def test_non_square_grid_with_a_remainder():
    saliency = torch.rand(10, 35, generator=generator())
    mask = AttentionGuidedMasking(num=4, p=1)((5, 7), 10, saliency)
    assert torch.equal(mask.masked, lowest(saliency, 8))


def test_units_are_ranked_by_their_sum():
    saliency = torch.rand(10, 24, generator=generator())
    mask = AttentionGuidedMasking(num=3, p=1, unit=2)((4, 6), 10, saliency)
    sums = saliency.view(10, 2, 2, 3, 2).sum((2, 4)).flatten(1)  # (10, 6 units)
    expected = lowest(sums, 2).view(10, 2, 1, 3, 1).expand(10, 2, 2, 3, 2).reshape(10, 24)
    assert torch.equal(mask.masked, expected)
    assert mask.num_masked == 8


def test_published_share_of_swin_6_of_49_units_and_a_draw_for_each():
    rows = 500
    saliency = torch.rand(rows, 49, generator=generator())
    patches = saliency.view(rows, 7, 1, 7, 1).expand(rows, 7, 8, 7, 8).reshape(rows, 56 * 56)
    mask = AttentionGuidedMasking(unit=8, p=0.5)((56, 56), rows, patches, generator(1)).masked
    units = mask.view(rows, 7, 8, 7, 8)[:, :, 0, :, 0].flatten(1)
    assert not (units & ~lowest(saliency, 6)).any()
    assert mask.sum() == 64 * units.sum()
    assert abs(units.sum().item() - rows * 3) < 4 * math.sqrt(rows * 6 / 4)


@pytest.mark.parametrize('p', [0.1, 0.6])
def test_each_candidate_is_hidden_independently_with_probability_p(p):
    rows = 8000
    saliency = torch.rand(196, generator=generator()).repeat(rows, 1)
    mask = AttentionGuidedMasking(num=8, p=p)((14, 14), rows, saliency, generator(1))
    candidate = lowest(saliency[:1], 24)[0]
    assert not mask.masked[:, ~candidate].any()
    hidden = mask.masked[:, candidate].double()
    bound = stats.norm.isf(1e-3 / 2 / 24) * math.sqrt(rows * p * (1 - p))
    assert (hidden.sum(0) - rows * p).abs().max() < bound
    # Independent: the number per row is binomial. Bins with fewer than five expected are joined.
    expected = stats.binom.pmf(range(25), 24, p) * rows
    observed = torch.bincount(mask.masked.sum(1), minlength=25).numpy()
    common = expected >= 5
    expected = [*expected[common], expected[~common].sum()]
    observed = [*observed[common], observed[~common].sum()]
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_the_published_setting_hides_2_4_of_196_and_often_nothing():
    rows = 20000
    saliency = torch.rand(rows, 196, generator=generator())
    masked = AttentionGuidedMasking()((14, 14), rows, saliency, generator(1)).masked.sum(1).double()
    assert abs(masked.mean().item() - 2.4) < 4 * math.sqrt(24 * 0.09 / rows)
    empty = 0.9**24  # 8%
    assert abs((masked == 0).double().mean().item() - empty) < 4 * math.sqrt(empty * (1 - empty) / rows)


def test_candidates_are_taken_per_row_not_over_the_batch():
    saliency = torch.stack([torch.arange(16.0) + 100, torch.arange(16.0).flip(0)])
    masked = AttentionGuidedMasking(num=4, p=1)((4, 4), 2, saliency).masked
    assert masked.nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 12], [1, 13], [1, 14], [1, 15]]


@pytest.mark.parametrize('value', [0.0, 0.5])
def test_a_constant_map_makes_any_patch_a_candidate(value):
    rows = 8000
    masked = AttentionGuidedMasking(num=4, p=1)((4, 4), rows, torch.full((rows, 16), value), generator()).masked
    assert masked.sum(1).unique().tolist() == [4]
    bound = stats.norm.isf(1e-3 / 2 / 16) * math.sqrt(rows * 3 / 16)
    assert (masked.sum(0) - rows / 4).abs().max() < bound


def test_p_zero_hides_nothing():
    mask = AttentionGuidedMasking(num=1, p=0)((4, 4), 5, torch.rand(5, 16))
    assert not mask.masked.any()
    assert mask.num_masked == 0
    assert AttentionGuidedMasking(num=1, p=0.5)((4, 4), 5, torch.rand(5, 16)).num_masked is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(num=0), 'AttentionGuidedMasking: num=0, must be a whole number of at least 1'),
        (dict(num=2.5), r'num=2\.5, must be a whole number'),
        (dict(p=1.5), r'p=1\.5, must lie in \[0, 1\]'),
        (dict(p=-0.5), r'p=-0\.5, must lie in \[0, 1\]'),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionGuidedMasking(**arguments)
