"""Distances that can be worked out by hand."""

import math

import pytest
import torch
from scipy.spatial.distance import cdist

from mimselfsup.evaluation import attention_distance, attention_distances, attention_maps
from tests.test_evaluation.test_attention_maps import build


def test_even_attention_on_four_patches():
    even = torch.full((4, 4), 0.25)
    # From a corner: itself, two neighbours, the diagonal.
    assert attention_distance(even, (2, 2)).item() == pytest.approx((0 + 1 + 1 + math.sqrt(2)) / 4)
    assert attention_distance(even, (2, 2), (16, 16)).item() == pytest.approx(4 * (2 + math.sqrt(2)))
    assert attention_distance(even, (2, 2), (3, 4)).item() == pytest.approx((0 + 3 + 4 + 5) / 4)
    assert attention_distance(even, (1, 4)).item() == pytest.approx((6 + 4 + 4 + 6) / 16)
    assert attention_distance(even, (1, 4), (5, 2)).item() == pytest.approx(2 * 20 / 16)  # 2 is the width


def test_attention_to_oneself_is_at_distance_zero_and_to_one_other_at_its_own():
    assert attention_distance(torch.eye(6), (2, 3)).item() == 0
    attention = torch.eye(6)
    attention[0] = torch.tensor([0, 0, 0, 0, 0, 1.0])  # from the first patch to the last
    assert attention_distance(attention, (2, 3)).item() == pytest.approx(math.sqrt(1 + 4) / 6)


def test_equals_the_formula_and_does_not_depend_on_what_goes_to_extra_tokens():
    attention = torch.rand(2, 3, 15, 15, generator=torch.Generator().manual_seed(0)).pow(4)
    places = [(7.0 * row, 2.0 * column) for row in range(3) for column in range(5)]
    distances = torch.from_numpy(cdist(places, places)).float()
    shares = attention / attention.sum(-1, keepdim=True)
    expected = torch.einsum('bhqk,qk->bhq', shares, distances).mean(-1)
    torch.testing.assert_close(attention_distance(attention, (3, 5), (7, 2)), expected)
    kept = torch.linspace(0.01, 1, 15).view(15, 1)
    torch.testing.assert_close(attention_distance(shares * kept, (3, 5), (7, 2)), expected)
    with pytest.raises(ValueError, match=r'\(2, 3, 15, 15\), must end in 12 x 12 for a grid of 3 x 4'):
        attention_distance(attention, (3, 4))


@pytest.mark.parametrize('settings', [dict(), dict(num_cls_tokens=3)], ids=['one', 'three'])
def test_of_a_model_it_is_the_mean_over_images_of_each_head_and_block_in_pixels(settings):
    model = build(**settings)
    images = torch.randn(5, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    found = attention_distances(model, images.split([4, 1]))
    extra = model.num_extra_tokens
    expected = [
        attention_distance(each[:, :, extra:, extra:], (4, 6), (8, 8)).mean(0) for each in attention_maps(model, images)
    ]
    torch.testing.assert_close(found, torch.stack(expected))
    assert found.shape == (3, 3) and found.std() > 0.1  # blocks and heads differ
    with pytest.raises(ValueError, match='there is no image'):
        attention_distances(model, [])
