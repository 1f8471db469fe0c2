"""Block masking, against a loop over single proposals written from the description of BEiT's and iBOT's code."""

import math
import random
from functools import cache
from itertools import pairwise

import pytest
import torch
from scipy import stats

from mimselfsup.models.maskings import BlockMasking

GRID = (14, 14)
BEIT = 75 / 196  # hides 75 of 196


def loop_mask(wanted: float, height: int, width: int, rng: random.Random, min_block: int = 16) -> list[list[bool]]:
    """One mask, proposal by proposal; gives up when ten in a row add nothing."""
    masked = [[False] * width for _ in range(height)]
    count = 0
    while count < wanted:
        room, added = wanted - count, 0
        for _ in range(10):
            area = rng.uniform(min_block, room)
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= height or w >= width:
                continue
            top, left = rng.randint(0, height - h), rng.randint(0, width - w)
            block = [(y, x) for y in range(top, top + h) for x in range(left, left + w)]
            new = [(y, x) for y, x in block if not masked[y][x]]
            if 0 < len(new) <= room:
                for y, x in new:
                    masked[y][x] = True
                added = len(new)
                break
        if not added:
            break
        count += added
    return masked


@cache
def loop_masks(wanted: float, height: int, width: int, number: int) -> torch.Tensor:
    rng = random.Random(0)
    return torch.tensor([loop_mask(wanted, height, width, rng) for _ in range(number)])


def masks(number: int, grid=GRID, seed=0, **arguments) -> torch.Tensor:
    """(number, h, w)"""
    mask = BlockMasking(**arguments)(grid, number, generator=torch.Generator().manual_seed(seed))
    return mask.masked.view(number, *grid)


@cache
def beit_masks(exact: bool) -> torch.Tensor:
    return masks(6000, mask_ratio=BEIT, exact=exact)


def two_sample_z(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """z of equal probabilities, per cell of two bool samples (n, ...)."""
    n, m = len(first), len(second)
    p, q = first.double().mean(0), second.double().mean(0)
    pooled = (p * n + q * m) / (n + m)
    return (p - q) / (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()


def bonferroni(tests: int, level: float = 1e-3) -> float:
    """The |z| that ``tests`` normal variables exceed together with probability ``level`` at most."""
    return stats.norm.isf(level / 2 / tests)


def test_exact_count_in_every_row():
    counts = beit_masks(True).sum((1, 2))
    assert counts.tolist() == [75] * 6000


def test_beits_own_rule_falls_short_in_a_third_of_the_masks():
    counts = beit_masks(False).sum((1, 2))
    assert counts.max() == 75
    assert counts.min() >= 60
    assert (counts < 64).float().mean() < 0.002
    assert (counts == 75).float().mean().item() == pytest.approx(2 / 3, abs=0.03)


def test_beits_own_rule_has_the_counts_of_the_loop():
    ours = beit_masks(False).sum((1, 2))
    theirs = loop_masks(75, *GRID, 1500).sum((1, 2))
    edges = [0, 71, 72, 73, 74, 75]  # up to 71, then one by one
    table = [[((c > a) & (c <= b)).sum().item() for a, b in pairwise(edges)] for c in (ours, theirs)]
    assert min(map(min, table)) >= 5
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_every_cell_is_hidden_as_often_as_in_the_loop():
    z = two_sample_z(beit_masks(False), loop_masks(75, *GRID, 1500))
    assert z.abs().max() < bonferroni(196)


@pytest.mark.parametrize('exact', [True, False])
def test_frequencies_are_symmetric_and_the_far_edges_are_reached(exact):
    sample = beit_masks(exact).double()
    frequency = sample.mean(0)
    bound = bonferroni(3 * 196) * (frequency * (1 - frequency) * 2 / len(sample)).sqrt()
    for mirrored in (frequency.flip(0), frequency.flip(1), frequency.T):
        # Cells of one mask are dependent, but a cell and its mirror image are not positively so.
        assert ((frequency - mirrored).abs() < 1.2 * bound).all()
    assert frequency[-1].min() > 0.02
    assert frequency[:, -1].min() > 0.02
    corners = frequency[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 0.1
    assert frequency[6:8, 6:8].min() > 0.65


def test_published_means_at_ratio_0_3():
    ours = masks(4000, mask_ratio=0.3, exact=False).sum((1, 2)).double()
    theirs = loop_masks(0.3 * 196, *GRID, 1500).sum((1, 2)).double()
    assert ours.max() == 58
    assert ours.mean().item() / 196 == pytest.approx(0.292, abs=0.001)
    assert stats.ttest_ind(ours, theirs, equal_var=False).pvalue > 1e-3


def test_ibot_half_empty_and_0_147_hidden_on_average():
    sample = masks(8000, mask_ratio=(0.1, 0.5), mask_prob=0.5, exact=False).sum((1, 2)).double()
    assert sample.mean().item() / 196 == pytest.approx(0.147, abs=0.006)
    hidden = sample[sample > 0]
    assert abs(len(hidden) - 4000) < 4 * math.sqrt(2000)
    assert hidden.min() >= 14
    assert 90 <= hidden.max() <= 97


def test_ratio_range_is_drawn_per_image_and_met_exactly():
    counts = masks(4000, mask_ratio=(0.1, 0.5)).sum((1, 2))
    assert (counts.min() >= 19) and (counts.max() <= 97)
    # floor(U(19.6, 98)): the shares of 20..97 are equal.
    observed = torch.bincount(counts, minlength=98)[20:98].view(13, 6).sum(1)
    assert stats.chisquare(observed).pvalue > 1e-3


def rectangles(sample: torch.Tensor) -> list[tuple[int, int, int, int]]:
    """(top, left, height, width) of each mask; fails if it is not one full rectangle."""
    found = []
    for mask in sample:
        y, x = mask.nonzero(as_tuple=True)
        top, left, height, width = y.min(), x.min(), y.max() - y.min() + 1, x.max() - x.min() + 1
        assert mask[top : top + height, left : left + width].all()
        found.append((top.item(), left.item(), height.item(), width.item()))
    return found


def test_one_proposal_is_a_rectangle_of_the_right_size_and_shape():
    sample = masks(4000, mask_ratio=BEIT, exact=False, max_proposals=1)
    sample = sample[sample.any(2).any(1)]
    assert len(sample) > 3000  # the rest were too wide or too high
    shapes = rectangles(sample)
    heights, widths = {h for _, _, h, _ in shapes}, {w for _, _, _, w in shapes}
    assert max(heights) == max(widths) == 13  # strictly smaller than the grid
    assert min(heights) == min(widths) == 2  # sqrt(16 * 0.3) = 2.19
    areas = torch.tensor([h * w for _, _, h, w in shapes]).double()
    assert areas.min() >= 14 and areas.max() <= 75
    # All places of one side length are equally likely, both ends included.
    tops = torch.tensor([top for top, _, h, _ in shapes if h == 5])
    assert stats.chisquare(torch.bincount(tops, minlength=10)).pvalue > 1e-3
    lefts = torch.tensor([left for _, left, _, w in shapes if w == 5])
    assert stats.chisquare(torch.bincount(lefts, minlength=10)).pvalue > 1e-3


def test_aspect_and_min_block_are_used():
    sample = masks(200, mask_ratio=0.3, exact=False, max_proposals=1, min_block=40, aspect=(0.5, 0.6))
    wide = rectangles(sample[sample.any(2).any(1)])
    assert len(wide) > 150
    assert all(w > h and h * w >= 36 for _, _, h, w in wide)


def test_non_square_grid_reaches_every_cell():
    sample = masks(2000, grid=(6, 20), mask_ratio=0.4)
    assert sample.sum((1, 2)).tolist() == [48] * 2000
    assert sample.double().mean(0).min() > 0.02


@pytest.mark.parametrize('exact', [True, False])
def test_units_are_the_cells_of_a_coarser_grid(exact):
    arguments = dict(mask_ratio=(0.1, 0.5), min_block=4, exact=exact)  # Swin's: 32 px of patches of 4 px
    units, patches = masks(50, grid=(7, 7), **arguments), masks(50, grid=(56, 56), unit=8, **arguments)
    assert torch.equal(patches, units.repeat_interleave(8, 1).repeat_interleave(8, 2))


@pytest.mark.parametrize('grid', [(1, 1), (1, 7), (3, 2), (14, 14)])
@pytest.mark.parametrize('ratio', [0.0, 0.5, 1.0])
def test_extremes_are_filled_up_to_the_count(grid, ratio):
    sample = masks(3, grid=grid, mask_ratio=ratio)
    assert sample.sum((1, 2)).tolist() == [math.floor(ratio * grid[0] * grid[1])] * 3


def test_filling_up_takes_neighbours_of_hidden_patches_first():
    arguments = dict(number=300, mask_ratio=BEIT, max_proposals=1)  # both start from the same single rectangle
    starts, filled = masks(exact=False, **arguments), masks(exact=True, **arguments)
    assert not (starts & ~filled).any()
    checked = set()
    for start, mask in zip(starts, filled, strict=True):
        around = torch.nn.functional.max_pool2d(start.float()[None], 3, 1, 1)[0].bool() & ~start
        added = mask & ~start
        enough = around.sum() >= added.sum()
        assert not (added & ~around).any() if enough else added[around].all()
        checked.add(bool(enough))
    assert checked == {True, False}


def test_max_proposals_leaves_nothing_to_chance():
    """With BEiT's own rule more proposals change nothing: rows have given up or are complete by then."""
    generator = torch.Generator().manual_seed(3)
    few, many = (
        BlockMasking(BEIT, exact=False, max_proposals=n)(GRID, 3000, generator=generator).masked.sum(1).double()
        for n in (64, 200)
    )
    assert stats.ttest_ind(few, many).pvalue > 1e-3
    assert abs((few == 75).double().mean() - (many == 75).double().mean()) < 4 * math.sqrt(2 * 0.22 / 3000)


def test_counts_are_known_only_when_they_are_constant():
    assert BlockMasking(0.4)(GRID, 2).num_masked == 78
    assert BlockMasking(0.4, exact=False)(GRID, 2).num_masked is None
    assert BlockMasking((0.1, 0.5))(GRID, 2).num_masked is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(mask_ratio=1.2), r'mask_ratio=1\.2, must be a number in \[0, 1\]'),
        (dict(mask_ratio=(0.5, 0.1)), r'0 <= low <= high <= 1'),
        (dict(mask_ratio=0.4, min_block=0), 'min_block=0, must be at least 1 patch'),
        (dict(mask_ratio=0.4, aspect=(0, 1)), r'aspect=\(0, 1\), must be \(low, high\) with 0 < low'),
        (dict(mask_ratio=0.4, aspect=(2, 1)), 'aspect='),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BlockMasking(**arguments)
