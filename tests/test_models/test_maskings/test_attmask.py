import math

import pytest
import torch
from scipy import stats

from mimselfsup.models.maskings import AttMask, attmask

GRID, TOTAL = (14, 14), 196


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def saliency(rows: int, total: int = TOTAL) -> torch.Tensor:
    return torch.rand(rows, total, generator=generator(99)).softmax(1)


def extreme(values: torch.Tensor, count: int, largest: bool) -> torch.Tensor:
    """The brute force: sort the patches of each row in Python."""
    expected = torch.zeros_like(values, dtype=torch.bool)
    for row, entries in enumerate(values.tolist()):
        for patch in sorted(range(len(entries)), key=entries.__getitem__, reverse=largest)[:count]:
            expected[row, patch] = True
    return expected


@pytest.mark.parametrize('mode', ['high', 'low'])
@pytest.mark.parametrize('grid', [(14, 14), (3, 7), (1, 1)])
@pytest.mark.parametrize('ratio', [0.0, 0.1, 0.3, 0.5, 1.0])
def test_exact_set(mode, grid, ratio):
    total = grid[0] * grid[1]
    weights = saliency(12, total)
    mask = AttMask(mode, ratio)(grid, 12, weights)
    hidden = math.floor(ratio * total)
    assert torch.equal(mask.masked, extreme(weights, hidden, largest=mode == 'high'))
    assert mask.num_masked == hidden


@pytest.mark.parametrize('mode', ['high', 'low'])
def test_units_are_ranked_by_their_sum_and_counted(mode):
    weights = saliency(12, 54)
    mask = AttMask(mode, 0.4, unit=3)((6, 9), 12, weights)
    sums = weights.view(12, 2, 3, 3, 3).sum((2, 4)).flatten(1)  # (12, 6 units)
    expected = extreme(sums, 2, largest=mode == 'high')  # floor(0.4 * 6), where floor(0.4 * 54) / 9 is not whole
    expected = expected.view(12, 2, 1, 3, 1).expand(12, 2, 3, 3, 3).reshape(12, 54)
    assert torch.equal(mask.masked, expected)
    assert mask.num_masked == 18


def test_hints_are_whole_units_of_the_most_salient():
    rows = 400
    weights = saliency(1).repeat(rows, 1)
    mask = AttMask('hint', 0.5, show_ratio=0.5, show_max=0.2, unit=2)(GRID, rows, weights, generator())
    sums = weights[:1].view(1, 7, 2, 7, 2).sum((2, 4)).flatten(1)  # (1, 49 units)
    units = mask.masked.view(rows, 7, 2, 7, 2)[:, :, 0, :, 0].flatten(1)
    top24, top9 = (extreme(sums, count, largest=True)[0] for count in (24, 9))
    assert mask.num_masked == 4 * (24 - 4)  # floor(0.1 * 49) hints
    assert units[:, top24 & ~top9].all() and not units[:, ~top24].any()
    shown = ~units[:, top9]
    assert shown.sum(1).unique().tolist() == [4]
    assert shown.any(0).all()  # any of them


def test_the_share_is_floored_with_a_guard():
    assert AttMask(mask_ratio=0.1)(GRID, 1, saliency(1)).num_masked == 19  # 19.6
    assert AttMask(mask_ratio=0.29)((10, 10), 1, saliency(1, 100)).num_masked == 29  # 28.999999999999996


@pytest.mark.parametrize('weights', [saliency(40), torch.ones(40, TOTAL), (saliency(40) * 2000).round()])
def test_high_and_low_are_disjoint_up_to_one_half(weights):
    high, low = (AttMask(mode, 0.5)(GRID, 40, weights, generator(4)).masked for mode in ('high', 'low'))
    assert not (high & low).any()
    least_hidden = weights.masked_fill(~high, math.inf).amin(1)
    assert (least_hidden >= weights.masked_fill(high, -math.inf).amax(1)).all()


def test_one_ratio_per_call_drawn_uniformly():
    masking, rng, weights = AttMask('high'), generator(), saliency(4)
    counts = []
    for _ in range(1500):
        mask = masking(GRID, 4, weights, rng)
        (count,) = set(mask.masked.sum(1).tolist())  # the same for all rows
        assert mask.num_masked == count
        counts.append(count)
    assert (min(counts), max(counts)) == (19, 97)
    # floor(U(19.6, 98)): 20..97 are equally likely, 19 has 0.4 of their share.
    observed = torch.bincount(torch.tensor(counts))[20:98].view(13, 6).sum(1)
    assert stats.chisquare(observed).pvalue > 1e-3
    assert abs(sum(counts) / 1500 - 58.3) < 4 * 22.7 / math.sqrt(1500)


def test_published_gate_hides_0_149_of_all_tokens_at_the_mean():
    masking, rng, weights = AttMask('high', mask_prob=0.5), generator(), saliency(16)
    fractions = torch.stack([masking(GRID, 16, weights, rng).masked.double().mean() for _ in range(1500)])
    assert abs(fractions.mean() - 0.149) < 4 * fractions.std() / math.sqrt(1500)


def test_the_gate_is_per_row_after_the_top_k():
    weights = saliency(2000)
    masked = AttMask('high', 0.3, mask_prob=0.5)(GRID, 2000, weights, generator()).masked
    on = masked.any(1)
    assert abs(on.sum().item() - 1000) < 4 * math.sqrt(500)
    assert torch.equal(masked[on], extreme(weights, 58, largest=True)[on])


def hint_counts(masking: AttMask, calls: int, rows: int = 3) -> torch.Tensor:
    """(calls, 2): how many of the most salient patches were hidden before the hints, and how many hints."""
    rng, weights = generator(), saliency(rows)
    counts = []
    for _ in range(calls):
        mask = masking(GRID, rows, weights, rng)
        (left,) = set(mask.masked.sum(1).tolist())
        assert mask.num_masked == left
        # Hints are among the 19 top ones, all else that is hidden lies directly below.
        shown = 19 - (mask.masked & extreme(weights, 19, largest=True)).sum(1)
        (shown,) = set(shown.tolist())
        hidden = left + shown
        assert not (mask.masked & ~extreme(weights, hidden, largest=True)).any()
        counts.append((hidden, shown))
    return torch.tensor(counts)


def test_hint_draws_its_share_anew():
    hidden, shown = hint_counts(AttMask('hint'), 600).double().T
    assert (hidden.min() >= 19) and (hidden.max() <= 97)
    assert abs(hidden.mean() - 58.3) < 4 * 22.7 / math.sqrt(600)
    # floor(U(1.96, 9.8)): 2..8 are equally likely, 9 has 0.8 and 1 has 0.04 of their share.
    assert (shown.min() >= 1) and (shown.max() == 9)
    width = 9.8 - 1.96
    expected = torch.tensor([1.04] + [1.0] * 6 + [0.8]).double() * 600 / width
    observed = torch.bincount(shown.long(), minlength=10)[1:].double()
    observed = torch.cat([observed[:2].sum().view(1), observed[2:]])
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    correlation = torch.corrcoef(torch.stack([hidden, shown]))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(600)  # independent of the masks' own ratio


def test_hint_with_the_same_draw():
    hidden, shown = hint_counts(AttMask('hint', show_ratio='same'), 200).T
    # r lies in [hidden / N, (hidden + 1) / N), and the hints are floor(0.1 r N).
    assert ((shown >= hidden // 10) & (shown <= (hidden + 1) // 10)).all()
    assert shown.unique().numel() > 5


def test_hints_are_a_share_of_all_patches_and_uniform_among_the_candidates():
    rows = 6000
    weights = saliency(1).repeat(rows, 1)
    mask = AttMask('hint', 0.3, show_ratio=0.5, show_max=0.1)(GRID, rows, weights, generator())
    top58, top19 = (extreme(weights[:1], count, largest=True)[0] for count in (58, 19))
    assert mask.num_masked == 58 - 9
    assert mask.masked.sum(1).unique().tolist() == [58 - 9]
    assert mask.masked[:, top58 & ~top19].all()
    assert not mask.masked[:, ~top58].any()
    shown = (~mask.masked[:, top19]).double()
    assert shown.sum(1).unique().tolist() == [9]
    share = 9 / 19
    bound = stats.norm.isf(1e-3 / 2 / 19) * math.sqrt(rows * share * (1 - share))
    assert (shown.sum(0) - rows * share).abs().max() < bound


def test_hints_where_fewer_are_hidden_than_may_be_shown():
    rows = 400
    weights = saliency(1).repeat(rows, 1)
    mask = AttMask('hint', 0.05, show_ratio=0.5, show_max=0.2)(GRID, rows, weights, generator())
    top9 = extreme(weights[:1], 9, largest=True)[0]
    assert not mask.masked[:, ~top9].any()  # a hint never hides
    left = mask.masked.sum(1)
    assert mask.num_masked is None
    assert left.unique().numel() > 2
    # 19 of 39 candidates are shown, the 9 hidden ones are among them: hypergeometric.
    assert abs(left.double().mean().item() - 9 * 20 / 39) < 4 * math.sqrt(9 * 0.25 / rows)


def test_no_hint_on_a_small_grid():
    weights = saliency(5, 36)
    mask = AttMask('hint', 0.05, show_ratio=0.1)((6, 6), 5, weights)  # floor(0.36) hints, fewer hidden than candidates
    assert torch.equal(mask.masked, extreme(weights, 1, largest=True))
    assert mask.num_masked == 1


def test_all_hints_shown_and_everything_shown():
    weights = saliency(5)
    mask = AttMask('hint', 0.3, show_ratio=1.0)(GRID, 5, weights)
    assert torch.equal(mask.masked, extreme(weights, 58, True) & ~extreme(weights, 19, True))
    assert mask.num_masked == 39
    assert not AttMask('hint', 1.0, show_ratio=1.0, show_max=1.0)(GRID, 5, weights).masked.any()


@pytest.mark.parametrize('mode', ['high', 'low'])
@pytest.mark.parametrize('value', [0.0, 1.0])
def test_a_constant_map_is_random_masking(mode, value):
    rows = 8000
    masked = AttMask(mode, 0.4)((3, 5), rows, torch.full((rows, 15), value), generator()).masked
    assert masked.sum(1).unique().tolist() == [6]
    bound = stats.norm.isf(1e-3 / 2 / 15) * math.sqrt(rows * 0.4 * 0.6)
    assert (masked.sum(0) - rows * 0.4).abs().max() < bound


@pytest.mark.parametrize(('mode', 'sure', 'never'), [('high', 0, 4), ('low', 4, 0)])
def test_ties_at_the_threshold_are_broken_at_random_the_rest_is_fixed(mode, sure, never):
    rows = 6000
    weights = torch.tensor([5.0, 2.0, 2.0, 2.0, 1.0]).repeat(rows, 1)
    masked = AttMask(mode, 0.4)((1, 5), rows, weights, generator()).masked
    assert masked[:, sure].all() and not masked[:, never].any()
    assert (masked[:, 1:4].sum(0) - rows / 3).abs().max() < 4 * math.sqrt(rows * 2 / 9)


@pytest.mark.parametrize('arguments', [dict(mode='high'), dict(mode='low'), dict(mode='hint')])
def test_a_ratio_that_stays_on_the_device_hides_the_same(arguments, monkeypatch):
    """What a generator of the device leads to: 0-d tensors in place of numbers."""
    weights, masking = saliency(6, 100), AttMask(**arguments)
    for share in (0.1, 0.29, 0.57, 0.5):  # 100 * 0.29 = 28.999999999999996, and 0.57 alike
        monkeypatch.setattr(attmask, '_draw_share', lambda bounds, rng, share=share: share)
        host = masking((10, 10), 6, weights, generator())
        tensor = torch.tensor(share, dtype=torch.float64)
        monkeypatch.setattr(attmask, '_draw_share', lambda bounds, rng, tensor=tensor: tensor)
        device = masking((10, 10), 6, weights, generator())
        assert torch.equal(host.masked, device.masked)
        assert host.num_masked is not None and device.num_masked is None


def test_a_share_is_drawn_on_the_host_without_a_generator_of_the_device():
    torch.manual_seed(0)
    draws = [attmask._draw_share((0.1, 0.5), rng) for rng in [None] * 200 + [generator(3)] * 200]
    assert all(isinstance(draw, float) and 0.1 <= draw <= 0.5 for draw in draws)
    assert stats.kstest(draws, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    assert attmask._draw_share((0.3, 0.3), None) == 0.3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(mode='top'), r"AttMask: mode='top', must be one of \('high', 'low', 'hint'\)"),
        (dict(mask_ratio=1.2), r'AttMask: mask_ratio=1\.2, must be a number in \[0, 1\]'),
        (dict(show_ratio=(0.5, 0.1)), r'AttMask: show_ratio=\(0\.5, 0\.1\)'),
        (dict(show_ratio='again'), r"AttMask: show_ratio='again', must be a share, \(low, high\), None or 'same'"),
        (dict(show_max=1.5), r'AttMask: show_max=1\.5, must lie in \[0, 1\]'),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttMask(**arguments)
