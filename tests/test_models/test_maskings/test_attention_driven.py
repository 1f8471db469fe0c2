"""AMT's masking, against its definition: draws one after the other without replacement."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from mimselfsup.models.maskings import AttentionDrivenMasking


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mask_rows(weights, rows, grid=None, seed=0, **arguments):
    """The TokenMask of ``rows`` images that all have the saliency ``weights`` (N,)."""
    weights = torch.as_tensor(weights, dtype=torch.float32)
    grid = grid or (1, len(weights))
    return AttentionDrivenMasking(**arguments)(grid, rows, weights.repeat(rows, 1), generator(seed))


def z_limit(tests: int, level: float = 1e-3) -> float:
    """The |z| that ``tests`` normal variables exceed together with probability ``level`` at most."""
    return stats.norm.isf(level / 2 / tests)


def assert_frequency(hits: torch.Tensor, expected: float | torch.Tensor) -> None:
    """``hits`` bool (n, K): each column's frequency agrees with ``expected``, at 1e-3 for all of them."""
    expected = torch.as_tensor(expected, dtype=torch.float64).expand(hits.shape[1])
    deviation = (hits.double().sum(0) - len(hits) * expected).abs()
    assert (deviation < z_limit(hits.shape[1]) * (len(hits) * expected * (1 - expected)).sqrt()).all()


@pytest.mark.parametrize(
    ('arguments', 'masked', 'thrown', 'visible'),
    [
        (dict(mask_ratio=0.75), 147, 0, 49),
        (dict(mask_ratio=0.45, throw_ratio=0.4), 88, 78, 30),
        (dict(mask_ratio=0.75, throw_ratio=0.1), 147, 19, 30),
        (dict(mask_ratio=0.6, unit=2, count='ceil'), 30 * 4, 0, 19 * 4),
        (dict(mask_ratio=0.44, throw_ratio=0.26, unit=2, count='ceil'), 88, 52, 56),
        (dict(mask_ratio=0.33, throw_ratio=0.5, unit=2, count='ceil'), 17 * 4, 25 * 4, 7 * 4),
    ],
)
@pytest.mark.parametrize('throw', ['middle', 'low', 'random'])
def test_published_counts(arguments, masked, thrown, visible, throw):
    mask = AttentionDrivenMasking(throw=throw, **arguments)((14, 14), 20, torch.rand(20, 196), generator())
    for tokens, count in ((mask.masked, masked), (mask.thrown, thrown), (mask.visible, visible)):
        assert tokens.sum(1).tolist() == [count] * 20
    assert (mask.num_masked, mask.num_thrown) == (masked, thrown)


@pytest.mark.parametrize(
    ('arguments', 'units', 'counts'),
    [
        (dict(mask_ratio=0.5, throw_ratio=0.5), 49, (24, 25)),
        (dict(mask_ratio=0.5, throw_ratio=0.5, count='ceil'), 49, (25, 24)),  # 25 + 25 would be one too many
        (dict(mask_ratio=0.5, throw_ratio=0.5, count='round'), 49, (24, 25)),
        (dict(mask_ratio=0.29, throw_ratio=0.28), 100, (29, 28)),  # 0.57 * 100 = 56.99999999999999
        (dict(mask_ratio=0.7, throw_ratio=0.3), 10, (7, 3)),
        (dict(mask_ratio=0.1, throw_ratio=0.7, count='ceil'), 10, (1, 7)),
        (dict(mask_ratio=0.0, throw_ratio=1.0), 5, (0, 5)),
        (dict(mask_ratio=1.0), 1, (1, 0)),
        (dict(mask_ratio=0.75), 1, (0, 0)),
        (dict(mask_ratio=0.75, count='ceil'), 1, (1, 0)),
    ],
)
def test_unit_counts(arguments, units, counts):
    masking = AttentionDrivenMasking(**arguments)
    assert masking.unit_counts(units) == counts
    mask = masking((1, units), 3, torch.rand(3, units))
    assert mask.masked.sum(1).tolist() == [counts[0]] * 3
    assert mask.thrown.sum(1).tolist() == [counts[1]] * 3


def test_all_orders_of_three_patches_have_their_closed_form():
    """With a third each, the three sets are the whole order: P(i, j, k) = w_i / W * w_j / (W - w_i)."""
    weights = torch.tensor([0.5, 0.2, 0.3])
    rows = 30000
    mask = mask_rows(weights, rows, mask_ratio=0.34, throw_ratio=0.34)
    first, second = mask.masked.int().argmax(1), mask.thrown.int().argmax(1)
    expected, observed = [], []
    for i, j, _ in itertools.permutations(range(3)):
        expected.append(rows * (weights[i] * weights[j] / (1 - weights[i])).item())
        observed.append(((first == i) & (second == j)).sum().item())
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-3


WEIGHTS = np.array([8.0, 5.0, 3.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05])


@pytest.fixture(scope='module')
def simulated() -> torch.Tensor:
    """(n, 12): the place at which each patch was drawn, drawn one by one as the paper says."""
    rng = np.random.default_rng(0)
    places = np.empty((6000, 12), dtype=np.int64)
    for row in places:
        left = WEIGHTS.copy()
        for place in range(12):
            cumulated = left.cumsum()
            patch = np.searchsorted(cumulated, rng.random() * cumulated[-1], side='right')
            row[patch] = place
            left[patch] = 0
    return torch.from_numpy(places)


@pytest.mark.parametrize(('throw', 'thrown_places'), [('middle', range(5, 9)), ('low', range(8, 12)), ('random', None)])
def test_inclusion_probabilities_are_those_of_sequential_draws(simulated, throw, thrown_places):
    rows = 20000
    mask = mask_rows(WEIGHTS, rows, grid=(3, 4), seed=1, mask_ratio=5 / 12, throw_ratio=4 / 12, throw=throw)
    masked = simulated < 5
    if thrown_places is None:
        noise = torch.rand(simulated.shape, generator=generator(5)).masked_fill(masked, 2.0)
        thrown = noise.argsort(1).argsort(1) < 4
    else:
        thrown = (simulated >= thrown_places[0]) & (simulated <= thrown_places[-1])
    for ours, theirs in ((mask.masked, masked), (mask.thrown, thrown)):
        n, m = len(ours), len(theirs)
        p, q = ours.double().mean(0), theirs.double().mean(0)
        pooled = (p * n + q * m) / (n + m)
        z = (p - q) / (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
        assert z.abs().max() < z_limit(24)


def test_pairs_are_drawn_together_as_in_sequential_draws(simulated):
    ours = mask_rows(WEIGHTS, 20000, seed=2, mask_ratio=5 / 12).masked.double()
    theirs = (simulated < 5).double()
    pairs = torch.triu_indices(12, 12, 1).unbind()
    p, q = (ours.T @ ours / 20000)[pairs], (theirs.T @ theirs / 6000)[pairs]
    pooled = (p * 20000 + q * 6000) / 26000
    z = (p - q) / (pooled * (1 - pooled) * (1 / 20000 + 1 / 6000)).sqrt()
    assert z.abs().max() < z_limit(66)


@pytest.mark.parametrize('value', [0.0, 1e-30, 1.0, 1e38])
@pytest.mark.parametrize('throw', ['middle', 'low', 'random'])
def test_a_constant_map_masks_and_throws_uniformly(value, throw):
    mask = mask_rows([value] * 10, 8000, mask_ratio=0.4, throw_ratio=0.3, throw=throw)
    assert mask.masked.sum(1).unique().tolist() == [4]
    assert_frequency(mask.masked, 0.4)
    assert_frequency(mask.thrown, 0.3)


def test_patches_of_no_weight_come_last_in_random_order():
    weights = torch.tensor([0.0, 1.0, 0.0, 2.0, 3.0, 0.0, 4.0, 5.0])
    mask = mask_rows(weights, 6000, mask_ratio=0.5, throw_ratio=0.25)  # 4, 2 and 2 of 5 + 3
    zero = weights == 0
    assert not mask.masked[:, zero].any()
    assert_frequency(mask.visible[:, zero], 2 / 3)
    low = mask_rows(weights, 6000, mask_ratio=0.5, throw_ratio=0.25, throw='low')
    assert not low.visible[:, zero].all(1).any()
    assert_frequency(low.thrown[:, zero], 2 / 3)


def test_an_all_zero_row_does_not_touch_its_neighbours():
    saliency = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]).repeat(4000, 1)
    masked = AttentionDrivenMasking(0.25)((2, 2), 8000, saliency, generator()).masked
    assert_frequency(masked[0::2], 0.25)
    assert masked[1::2, 1].float().mean() > 0.999


def test_one_dominant_patch_is_masked_almost_surely_and_any_other_order_stays_possible():
    weights = torch.ones(16)
    weights[5] = 1e4
    masked = mask_rows(weights, 4000, grid=(4, 4), mask_ratio=0.25).masked
    assert masked[:, 5].float().mean() > 0.995
    assert_frequency(masked[:, torch.arange(16) != 5], 3 / 15)
    # A patch of a hundredth of the weight still comes first now and then: P = 0.01 / 1.01.
    assert_frequency(mask_rows([1.0, 0.01], 20000, mask_ratio=0.5).masked, torch.tensor([1 / 1.01, 0.01 / 1.01]))


@pytest.mark.parametrize('scale', [2.0**-100, 2.0**-20, 2.0**60])
def test_scale_does_not_matter(scale):
    saliency = torch.rand(50, 24, generator=generator(1))
    ours, scaled = (
        AttentionDrivenMasking(0.4, 0.3)((4, 6), 50, values, generator()) for values in (saliency, saliency * scale)
    )
    assert torch.equal(ours.masked, scaled.masked)
    assert torch.equal(ours.thrown, scaled.thrown)


def test_throw_random_throws_uniformly_among_what_is_not_masked():
    weights = torch.tensor([1e6, 1e6, 1.0, 2.0, 3.0, 4.0])
    mask = mask_rows(weights, 8000, mask_ratio=1 / 3, throw_ratio=1 / 3, throw='random')
    assert mask.masked[:, :2].float().mean() > 0.999
    plain = mask.masked[:, :2].all(1)
    assert_frequency(mask.thrown[plain][:, 2:], 0.5)  # whatever their weights


def test_throw_variants_mask_alike_and_differ_in_what_they_throw():
    saliency = torch.rand(30, 24, generator=generator(1))
    middle, low, rand = (
        AttentionDrivenMasking(0.4, 0.3, throw=throw)((4, 6), 30, saliency, generator())
        for throw in ('middle', 'low', 'random')
    )
    assert torch.equal(middle.masked, low.masked) and torch.equal(middle.masked, rand.masked)
    assert not torch.equal(middle.thrown, rand.thrown)
    # M[m:m+k] and M[N-k:]: 9 masked, 7 thrown of 24, 8 left: they share nothing.
    assert not (middle.thrown & low.thrown).any()


def unit_saliency(blocks: torch.Tensor, unit: int) -> torch.Tensor:
    """(B, h, w) per unit -> (B, N) per patch: the weight of each unit unevenly spread over its patches."""
    shares = torch.rand(*blocks.shape, unit * unit, generator=generator(8)) ** 4 + 1e-3
    spread = blocks.unsqueeze(-1) * shares / shares.sum(-1, keepdim=True)
    return spread.unflatten(-1, (unit, unit)).transpose(2, 3).reshape(len(blocks), -1)


@pytest.mark.parametrize(('cells', 'unit'), [((7, 7), 2), ((2, 5), 3), ((1, 1), 4)])
@pytest.mark.parametrize('throw', ['middle', 'low', 'random'])
def test_units_are_drawn_with_the_sum_of_their_weights(cells, unit, throw):
    blocks = torch.rand(20, *cells, generator=generator(3)) + 0.01
    arguments = dict(mask_ratio=0.44, throw_ratio=0.26, throw=throw, count='ceil')
    whole = AttentionDrivenMasking(**arguments)(cells, 20, blocks.flatten(1), generator())
    grid = (cells[0] * unit, cells[1] * unit)
    fine = AttentionDrivenMasking(unit=unit, **arguments)(grid, 20, unit_saliency(blocks, unit), generator())
    for patches, units in ((fine.masked, whole.masked), (fine.thrown, whole.thrown)):
        patches = patches.view(20, cells[0], unit, cells[1], unit)
        expected = units.view(20, cells[0], 1, cells[1], 1).expand_as(patches)
        assert torch.equal(patches, expected)


@pytest.mark.parametrize(('grid', 'unit'), [((14, 15), 2), ((15, 14), 2), ((14, 14), 3), ((4, 4), 0)])
def test_units_that_do_not_tile(grid, unit):
    message = rf'AttentionDrivenMasking: unit={unit} does not tile the grid of {grid[0]} x {grid[1]} patches'
    with pytest.raises(ValueError, match=message):
        AttentionDrivenMasking(0.5, unit=unit)(grid, 1, torch.rand(1, grid[0] * grid[1]))


def test_throws_says_whether_tokens_may_be_thrown():
    assert AttentionDrivenMasking(0.45, 0.4).throws
    assert not AttentionDrivenMasking(0.75).throws
    assert not AttentionDrivenMasking.throws


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(mask_ratio=1.2), r'AttentionDrivenMasking: mask_ratio=1\.2, must be one number in \[0, 1\]'),
        (dict(mask_ratio=(0.1, 0.5)), r'mask_ratio=\(0\.1, 0\.5\), must be one number'),
        (dict(mask_ratio=0.5, throw_ratio=-0.1), r'throw_ratio=-0\.1, must be one number in \[0, 1\]'),
        (dict(mask_ratio=0.75, throw_ratio=0.4), r'mask_ratio=0\.75 and throw_ratio=0\.4 add up to more than 1'),
        (dict(mask_ratio=0.5, throw='high'), r"throw='high', must be one of \('middle', 'low', 'random'\)"),
        (dict(mask_ratio=0.5, count='up'), r"count='up', must be one of \('floor', 'ceil', 'round'\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionDrivenMasking(**arguments)
