import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mimselfsup.structures import TokenMask


def of(*rows: str) -> TokenMask:
    """m masked, t thrown, . visible"""
    return TokenMask(*(torch.tensor([[cell == kind for cell in row] for row in rows]) for kind in 'mt'))


def spell(mask: TokenMask) -> list[str]:
    kinds = zip(mask.masked.tolist(), mask.thrown.tolist(), strict=True)
    return [''.join('m' if m else 't' if t else '.' for m, t in zip(*row, strict=True)) for row in kinds]


EVEN = of('mt.m.', '.mtm.')
UNEVEN = of('mt.m.', 't..tm', 'mmm.t', '.....')


def test_three_sets():
    assert EVEN.visible.tolist() == [[0, 0, 1, 0, 1], [1, 0, 0, 0, 1]]
    assert EVEN.kept.tolist() == [[1, 0, 1, 1, 1], [1, 1, 0, 1, 1]]
    assert (torch.stack([UNEVEN.masked, UNEVEN.thrown, UNEVEN.visible]).sum(0) == 1).all()


def test_thrown_is_empty_by_default():
    mask = TokenMask(torch.tensor([[True, False]]))
    assert spell(mask) == ['m.']
    assert mask.num_thrown == 0
    assert mask.kept.all()


def test_counts_are_the_fewest_and_the_most_of_a_row():
    assert EVEN.counts == dict(masked=(2, 2), thrown=(1, 1), kept=(4, 4), visible=(2, 2))
    assert UNEVEN.counts == dict(masked=(0, 3), thrown=(0, 2), kept=(3, 5), visible=(1, 5))
    assert of('m.', '..').counts == dict(masked=(0, 1), thrown=(0, 0), kept=(2, 2), visible=(1, 2))
    assert TokenMask(UNEVEN.masked).counts == dict(masked=(0, 3), thrown=(0, 0), kept=(5, 5), visible=(2, 5))


def test_stated_counts_are_trusted_and_not_read_back():
    mask = TokenMask(torch.zeros(2, 5, dtype=torch.bool), torch.zeros(2, 5, dtype=torch.bool), 2, 1)
    assert mask.counts == dict(masked=(2, 2), thrown=(1, 1), kept=(4, 4), visible=(2, 2))
    stated = TokenMask(EVEN.masked, EVEN.thrown, 2, 1)
    assert stated.counts == EVEN.counts
    for kind in ('masked_subset', 'visible_subset', 'kept_subset', 'masked_in_kept'):
        assert torch.equal(getattr(stated, kind).index, getattr(EVEN, kind).index)


def test_subsets_of_equal_rows_are_ascending_and_without_padding():
    for subset, index in (
        (EVEN.masked_subset, [[0, 3], [1, 3]]),
        (EVEN.visible_subset, [[2, 4], [0, 4]]),
        (EVEN.kept_subset, [[0, 2, 3, 4], [0, 1, 3, 4]]),
    ):
        assert subset.index.tolist() == index
        assert subset.index.dtype == torch.int64
        assert subset.valid is None


def test_subsets_of_unequal_rows_are_padded():
    masked = UNEVEN.masked_subset
    assert masked.valid.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]
    rows = [row[valid].tolist() for row, valid in zip(masked.index, masked.valid, strict=True)]
    assert rows == [[0, 3], [4], [0, 1, 2], []]
    visible = UNEVEN.visible_subset
    rows = [row[valid].tolist() for row, valid in zip(visible.index, visible.valid, strict=True)]
    assert rows == [[2, 4], [1, 2], [3], [0, 1, 2, 3, 4]]
    # Padding is a token of another kind, never a valid one twice.
    for subset in (masked, visible, UNEVEN.kept_subset):
        assert all(len(set(row)) == len(row) for row in subset.index.tolist())


def test_gather_takes_the_tokens_of_the_subset():
    tokens = torch.arange(2 * 5 * 3).view(2, 5, 3)
    gathered = EVEN.masked_subset.gather(tokens)
    assert torch.equal(gathered, torch.stack([tokens[0, [0, 3]], tokens[1, [1, 3]]]))


@pytest.mark.parametrize('mask', [EVEN, UNEVEN, TokenMask(UNEVEN.masked)])
def test_masked_in_kept_finds_the_masked_tokens_among_the_kept(mask):
    tokens = torch.arange(mask.masked.numel()).view(*mask.masked.shape, 1)
    direct, kept, inner = mask.masked_subset, mask.kept_subset, mask.masked_in_kept
    found = inner.gather(kept.gather(tokens))
    if direct.valid is None:
        assert inner.valid is None
        assert torch.equal(found, direct.gather(tokens))
    else:
        assert torch.equal(inner.valid, direct.valid)
        assert torch.equal(found[inner.valid], direct.gather(tokens)[direct.valid])


def test_chunk_splits_the_rows_in_order_and_keeps_stated_counts():
    mask = TokenMask(EVEN.masked.repeat(2, 1), EVEN.thrown.repeat(2, 1), 2, 1)
    first, second = mask.chunk(2)
    assert spell(first) == spell(second) == ['mt.m.', '.mtm.']
    assert (first.num_masked, first.num_thrown) == (2, 1)
    pieces = UNEVEN.chunk(4)
    assert [spell(piece) for piece in pieces] == [['mt.m.'], ['t..tm'], ['mmm.t'], ['.....']]
    assert pieces[2].counts['masked'] == (3, 3)


def test_none_hides_nothing():
    mask = TokenMask.none(3, 4)
    assert spell(mask) == ['....'] * 3
    assert mask.counts == dict(masked=(0, 0), thrown=(0, 0), kept=(4, 4), visible=(4, 4))
    assert mask.masked_subset.index.shape == (3, 0)
    assert mask.visible_subset.index.tolist() == [[0, 1, 2, 3]] * 3


def test_cached_subsets_do_not_make_a_mask_mutable():
    assert EVEN.masked_subset is EVEN.masked_subset
    with pytest.raises(AttributeError):
        EVEN.masked = EVEN.thrown


@pytest.mark.parametrize(
    ('masked', 'thrown', 'message'),
    [
        (torch.zeros(2, 4), None, r'masked is torch.float32 \(2, 4\), expected torch.bool \(B, N\)'),
        (torch.zeros(2, 2, 2, dtype=torch.bool), None, r'masked is torch.bool \(2, 2, 2\), expected'),
        (torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, 4), r'thrown is torch.float32 \(2, 4\), expected'),
        (
            torch.zeros(2, 4, dtype=torch.bool),
            torch.zeros(2, 5, dtype=torch.bool),
            r'masked is \(2, 4\) but thrown is \(2, 5\)',
        ),
    ],
)
def test_wrong_tensors(masked, thrown, message):
    with pytest.raises(ValueError, match=message):
        TokenMask(masked, thrown)


def test_refuses_pieces_that_do_not_divide_the_rows():
    with pytest.raises(ValueError, match='5 rows cannot be cut into 4 equal pieces'):
        TokenMask.none(5, 4).chunk(4)


def test_places_of_masked_tokens_in_the_flattened_batch():
    masked = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]]).bool()
    for known in (None, (2, 0, 3)):
        mask = TokenMask(masked, masked_per_row=known)
        assert mask.masked_places.tolist() == [1, 3, 8, 9, 10]
    assert TokenMask(torch.zeros(2, 3, dtype=torch.bool), masked_per_row=(0, 0)).masked_places.tolist() == []
    assert TokenMask(masked[:1], num_masked=2).masked_per_row == (2,)


@pytest.mark.parametrize('known', [None, (2, 0, 3)])
def test_places_of_masked_tokens_among_those_kept(known):
    masked = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]]).bool()
    thrown = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]).bool()
    mask = TokenMask(masked, thrown, masked_per_row=known)
    tokens = torch.arange(12).view(3, 4, 1)
    kept = mask.kept_subset.gather(tokens).flatten()
    assert (
        kept[mask.masked_places_in_kept].tolist() == tokens.flatten()[mask.masked_places].tolist() == [1, 3, 8, 9, 10]
    )


def test_knowing_the_total_nothing_waits_for_the_device():
    with FakeTensorMode():
        masked = torch.zeros(2, 8, dtype=torch.bool, device='cuda')
        mask = TokenMask(masked, masked_per_row=(1, 2))
        assert mask.masked_places.shape == mask.masked_places_in_kept.shape == (3,)


def test_squares_of_a_grid_are_masked_where_all_of_them_is():
    masked = torch.tensor(
        [[1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1]],
    ).bool()
    coarse = TokenMask(masked.view(1, 24)).coarsened((4, 6), 2)
    assert coarse.masked.view(2, 3).tolist() == [[True, False, False], [False, True, False]]
    same = TokenMask(masked.view(1, 24))
    assert same.coarsened((4, 6), 1) is same
    with pytest.raises(ValueError, match=r'squares of 4 do not tile a grid of \(4, 6\)'):
        same.coarsened((4, 6), 4)


def test_counts_of_a_mask_of_whole_squares_are_carried_over_to_the_squares():
    squares = torch.tensor([[True, False, True], [False, False, True]])
    masked = squares.view(2, 1, 3).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)
    fine = TokenMask(masked, masked_per_row=(8, 4))
    coarse = fine.coarsened((2, 6), 2, only_whole=True)
    assert coarse.masked_per_row == (2, 1) and torch.equal(coarse.masked, squares)
    assert fine.coarsened((2, 6), 2).masked_per_row is None
    assert TokenMask(masked).coarsened((2, 6), 2, only_whole=True).masked_per_row is None


def test_counts_come_from_the_rows_where_they_are_stated():
    masked = torch.tensor([[True, True, False, False], [False, False, True, False]])
    thrown = torch.tensor([[False, False, False, True], [True, False, False, False]])
    read = TokenMask(masked, thrown)
    assert read.counts == TokenMask(masked, thrown, num_thrown=1, masked_per_row=(2, 1)).counts
    assert read.counts == dict(masked=(1, 2), thrown=(1, 1), kept=(3, 3), visible=(1, 2))
    with FakeTensorMode():
        there = TokenMask(torch.zeros(2, 4, dtype=torch.bool, device='cuda'), masked_per_row=(2, 1))
        assert there.visible_subset.index.shape == (2, 3)
