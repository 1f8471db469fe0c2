"""Scores of rankings, against hand-computed cases, all orders, and the definition walked down image by image."""

import itertools

import numpy as np
import pytest
import torch

from mimselfsup.evaluation.retrieval import (
    average_precision,
    chance_average_precision,
    precision_at,
    rank_images,
    ranks_of,
    revisited_tasks,
    score_rankings,
)


def walked(order, positives, ignored):
    """The loop of the program that came with the Oxford buildings: junk is stepped over, the curve is summed up."""
    area, recall, precision, hits, seen = 0.0, 0.0, 1.0, 0, 0
    for image in order:
        if image in ignored:
            continue
        seen += 1
        hits += image in positives
        new_recall, new_precision = hits / len(positives), hits / seen
        area += (new_recall - recall) * (precision + new_precision) / 2
        recall, precision = new_recall, new_precision
    return area


def test_by_hand():
    # Ranks 1 and 3 of two positives: (0/1 + 1/2) / 2 / 2 + (1/3 + 2/4) / 2 / 2 = 0.125 + 0.2083.
    assert average_precision(np.array([1, 3]), 2) == pytest.approx(1 / 8 + 5 / 24)
    assert average_precision(np.array([0, 1, 2]), 3) == 1
    assert average_precision(np.array([0]), 4) == 0.25  # three were not found
    assert average_precision(np.array([]), 4) == 0


def test_ignored_images_leave_the_ranking():
    order = np.array([4, 0, 3, 1, 2, 5])
    assert ranks_of(order, np.array([3, 2]), np.array([4, 1])).tolist() == [1, 2]
    assert ranks_of(order, np.array([3, 2]), np.array([], dtype=int)).tolist() == [2, 4]
    assert ranks_of(order, np.array([4]), np.array([5])).tolist() == [0]


def test_precision_reaches_at_most_to_the_last_positive():
    ranks = np.array([0, 2])
    assert [precision_at(ranks, k) for k in (1, 2, 3, 10)] == [1, 0.5, 2 / 3, 2 / 3]


@pytest.mark.parametrize('seed', range(5))
def test_equals_the_walk(seed):
    rng = np.random.default_rng(seed)
    orders, positives, ignored = [], [], []
    for _ in range(8):
        shuffled = rng.permutation(60)
        many, few = rng.integers(1, 20, 2)
        positives.append(shuffled[:many])
        ignored.append(shuffled[many : many + few])
        orders.append(rng.permutation(60))
    found = score_rankings(orders, positives, ignored)
    expected = [walked(o, set(p), set(i)) for o, p, i in zip(orders, positives, ignored, strict=True)]
    assert found['map'] == pytest.approx(100 * np.mean(expected)) and found['queries'] == 8
    first = [
        next(image for image in o if image not in i) in p for o, p, i in zip(orders, positives, ignored, strict=True)
    ]
    assert found['p1'] == pytest.approx(100 * np.mean(first))


def test_chance_is_the_mean_over_all_orders():
    for count, wanted in ((1, 1), (4, 1), (5, 2), (6, 6), (6, 3)):
        values = [
            average_precision(np.flatnonzero(np.array(order) < wanted), wanted)
            for order in itertools.permutations(range(count))
        ]
        assert chance_average_precision(count, wanted) == pytest.approx(np.mean(values))
    cut = [average_precision(np.array([rank]), 1) for rank in range(3)]
    assert chance_average_precision(7, 1, limit=3) == pytest.approx(sum(cut) / 7)


def test_medium_and_hard():
    easy, hard, junk = [np.array([0, 1]), np.array([5])], [np.array([2]), np.array([], int)], [np.array([3])] * 2
    tasks = revisited_tasks(easy, hard, junk)
    assert [each.tolist() for each in tasks['medium'][0]] == [[0, 1, 2], [5]]
    assert [each.tolist() for each in tasks['medium'][1]] == [[3], [3]]
    assert [each.tolist() for each in tasks['hard'][0]] == [[2], []]
    assert [sorted(each.tolist()) for each in tasks['hard'][1]] == [[0, 1, 3], [3, 5]]
    order = np.array([3, 0, 1, 4, 2, 5])
    # The second query has no hard positive and counts for nothing; of the first, 3, 0 and 1 are gone.
    assert score_rankings([order, order], *tasks['hard'])['map'] == pytest.approx(25)
    assert score_rankings([order, order], *tasks['hard'])['queries'] == 1
    assert list(revisited_tasks(easy, [np.array([], int)] * 2, junk)) == ['medium']
    with pytest.raises(ValueError, match='no query has a positive'):
        score_rankings([order], [np.array([], int)], [np.array([])])


def test_ranked_by_cosine_and_ties_by_place():
    images = torch.tensor([[0.0, 3.0], [10.0, 10.0], [0.1, 0.0], [2.0, 2.0]])
    assert rank_images(torch.tensor([[5.0, 0.0], [0.0, 1.0]]), images).tolist() == [[2, 1, 3, 0], [0, 1, 3, 2]]
