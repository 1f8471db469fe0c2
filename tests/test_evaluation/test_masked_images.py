import pytest
import torch

from mimselfsup.evaluation.masked_images import attention_order, black_out, check_ratios, random_order


def test_the_most_attended_patches_go_black_and_nothing_else_changes():
    inputs = torch.randint(1, 256, (2, 3, 4, 6), dtype=torch.uint8)
    attention = torch.tensor([[0.1, 0.5, 0.2, 0.0, 0.15, 0.05], [0.3, 0.0, 0.1, 0.25, 0.05, 0.3]])[:, None]
    before = inputs.clone()
    found = black_out(inputs, attention_order(attention), 0.5, (2, 3))
    assert torch.equal(inputs, before)
    hidden = torch.tensor([[[0, 1, 1], [0, 1, 0]], [[1, 0, 0], [1, 0, 1]]], dtype=torch.bool)  # patches of 2 x 2 pixels
    pixels = hidden.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None].expand_as(inputs)
    assert (found[pixels] == 0).all() and torch.equal(found[~pixels], inputs[~pixels])


def test_attention_is_averaged_over_heads_and_ties_go_to_the_first():
    attention = torch.tensor([[[0.9, 0.0, 0.1, 0.0], [0.0, 0.6, 0.2, 0.2]]])
    assert attention_order(attention).tolist() == [[0, 1, 2, 3]]
    assert attention_order(torch.full((1, 2, 5), 0.2)).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ('ratio', 'patches', 'count'), [(0.3, 196, 58), (0.7, 196, 137), (0.3, 10, 3), (0.0, 16, 0), (0.9, 16, 14)]
)
def test_number_of_patches_is_rounded_down(ratio, patches, count):
    found = black_out(torch.ones(1, 3, 1, patches), torch.arange(patches)[None], ratio, (1, patches))
    assert (found == 0).sum() == 3 * count


def test_random_orders_are_permutations_that_do_not_depend_on_the_batch():
    whole = random_order(6, 9, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    parts = torch.cat([random_order(4, 9, generator), random_order(2, 9, generator)])
    assert torch.equal(whole, parts) and len({tuple(row) for row in whole.tolist()}) == 6
    assert torch.equal(whole.sort(1).values, torch.arange(9).expand(6, 9))


def test_errors_name_what_is_wrong():
    for ratios in ((), (0.5, 1.0), (-0.1,)):
        with pytest.raises(ValueError, match=r'ratios=.*\[0, 1\)'):
            check_ratios(ratios)
    with pytest.raises(ValueError, match=r'5 x 6 pixels.*grid of 2 x 3'):
        black_out(torch.ones(1, 3, 5, 6), torch.arange(6)[None], 0.5, (2, 3))
