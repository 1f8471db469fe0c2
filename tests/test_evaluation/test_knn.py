import math

import pytest
import torch

from mimselfsup.evaluation import knn
from mimselfsup.evaluation.knn import (
    best_k,
    clip_ks,
    count_correct,
    knn_accuracy,
    knn_classify,
    knn_scores,
    nearest_neighbours,
)


def make_data(gallery=83, queries=29, width=12, classes=7):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(gallery, width, generator=generator),
        torch.randint(classes, (gallery,), generator=generator),
        torch.randn(queries, width, generator=generator),
        torch.randint(classes, (queries,), generator=generator),
    )


def direct_formula(gallery, gallery_labels, queries, labels, k, temperature):
    """The protocol as plain loops in float64; top-1 and top-5 in percent."""
    found = {1: 0, 5: 0}
    for query, label in zip(queries.double().tolist(), labels.tolist(), strict=True):
        cosines = []
        for index, row in enumerate(gallery.double().tolist()):
            dot = math.fsum(a * b for a, b in zip(query, row, strict=True))
            cosines.append((dot / math.hypot(*query) / math.hypot(*row), -index))
        votes = {}
        for cosine, index in sorted(cosines, reverse=True)[:k]:
            voted = int(gallery_labels[-index])
            votes[voted] = votes.get(voted, 0.0) + math.exp(cosine / temperature)
        ranked = sorted(votes, key=lambda each: (-votes[each], each))
        for first in found:
            found[first] += label in ranked[:first]
    return {f'top{first}': 100 * count / len(labels) for first, count in found.items()}


@pytest.mark.parametrize('temperature', [0.07, 0.5])
def test_accuracy_equals_the_direct_formula_for_every_k(temperature):
    data = make_data()
    result = knn_classify(*data, ks=(1, 5, 20, 83), temperature=temperature)
    assert list(result) == [1, 5, 20, 83]
    for k, accuracy in result.items():
        assert accuracy == pytest.approx(direct_formula(*data, k, temperature))
    assert len({values['top1'] for values in result.values()}) > 1  # the k really differ


def test_scores_are_exponentials_of_the_similarity_up_to_a_factor_per_row():
    similarities = torch.tensor([[0.9, 0.5, 0.4]])
    scores = knn_scores(similarities, torch.tensor([[1, 0, 0]]), num_classes=3, temperature=0.1)
    expected = torch.tensor([math.exp(5) + math.exp(4), math.exp(9), 0.0], dtype=torch.float64)
    torch.testing.assert_close(scores[0] / scores[0].sum(), expected / expected.sum(), rtol=1e-5, atol=0)
    assert torch.isfinite(knn_scores(similarities, torch.tensor([[1, 0, 0]]), 3, temperature=1e-4)).all()


@pytest.mark.parametrize('chunks', [(1, 1), (4, 7), (29, 10), (1000, 83), (3, 1000)])
def test_neighbours_do_not_depend_on_the_chunks(chunks):
    gallery, _, queries, _ = make_data()
    cosine = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(gallery).T
    values, indices = cosine.sort(dim=1, descending=True, stable=True)
    similarities, found = nearest_neighbours(gallery, queries, 20, *chunks)
    assert torch.equal(found, indices[:, :20])
    torch.testing.assert_close(similarities, values[:, :20])


@pytest.mark.parametrize('gallery_chunk', [3, 7, 100])
def test_of_equal_similarities_the_first_images_win(gallery_chunk):
    gallery = torch.eye(4).repeat(10, 1)  # image i equals image i + 4
    queries = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
    _, indices = nearest_neighbours(gallery, queries, 5, gallery_chunk=gallery_chunk)
    assert indices[0].tolist() == [1, 5, 9, 13, 17]
    assert indices[1].tolist() == [0, 4, 8, 12, 16]
    assert indices[2].tolist() == [1, 2, 3, 5, 6]  # similarity 0, and not the -1 of 0, 4, 8, ...


@pytest.mark.parametrize('order', ['random', 'by class'])
def test_a_large_gallery_of_which_few_are_looked_at_gives_the_same_neighbours(monkeypatch, order):
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(32, 8, generator=generator)
    half = centres.repeat_interleave(128, 0) + 0.5 * torch.randn(4096, 8, generator=generator)
    gallery = torch.cat([half, half])  # each image again, later
    if order == 'random':
        gallery = gallery[torch.randperm(8192, generator=generator)]
    queries = centres[:20] + 0.5 * torch.randn(20, 8, generator=generator)
    cosine = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(gallery).T
    values, indices = cosine.sort(dim=1, descending=True, stable=True)

    sorted_through, largest = [], knn._largest
    monkeypatch.setattr(knn, '_largest', lambda *args: sorted_through.append(args) or largest(*args))
    similarities, found = nearest_neighbours(gallery, queries, 5, query_chunk=20, gallery_chunk=1024)
    assert torch.equal(found, indices[:, :5]) and torch.equal(similarities, values[:, :5])
    assert len(sorted_through) < 6  # of 8 chunks


def test_negative_similarities_are_sorted_and_returned():
    gallery = torch.tensor([[-1.0, 0.0], [-1.0, 1.0], [-1.0, -3.0]])
    similarities, indices = nearest_neighbours(gallery, torch.tensor([[2.0, 0.0]]), 3)
    assert indices[0].tolist() == [2, 1, 0]
    expected = torch.tensor([-(10**-0.5), -(2**-0.5), -1.0])
    torch.testing.assert_close(similarities[0], expected)


def test_length_of_the_features_does_not_matter():
    gallery, labels, queries, wanted = make_data()
    stretched = gallery * torch.linspace(0.1, 50, len(gallery))[:, None]
    plain = knn_classify(gallery, labels, queries, wanted, ks=(5,))
    assert knn_classify(stretched, labels, 3 * queries, wanted, ks=(5,)) == plain


def test_equal_votes_go_to_the_lower_class_and_no_vote_is_never_right():
    scores = torch.tensor([[0.0, 2.0, 2.0, 0.0]] * 3)
    assert count_correct(scores, torch.tensor([1, 1, 1])) == dict(top1=3, top5=3)
    assert count_correct(scores, torch.tensor([2, 2, 2])) == dict(top1=0, top5=3)
    assert count_correct(scores, torch.tensor([0, 3, 0])) == dict(top1=0, top5=0)


def test_evaluation_in_chunks_counts_each_query_once():
    gallery, labels, queries, wanted = make_data()
    similarities, indices = nearest_neighbours(gallery, queries, 10)
    whole = knn_accuracy(similarities, labels[indices], wanted, (3, 10))
    assert knn_accuracy(similarities, labels[indices], wanted, (3, 10), chunk=4) == whole


def test_k_beyond_the_gallery_is_the_gallery_and_says_so():
    assert clip_ks((200, 10, 100, 20), 50) == (10, 20, 50)
    gallery, labels, queries, wanted = make_data()
    assert list(knn_classify(gallery, labels, queries, wanted, ks=(10, 100, 200))) == [10, 83]


def test_best_k_is_the_smallest_of_equals():
    assert best_k({20: dict(top1=50.0), 10: dict(top1=50.0), 100: dict(top1=40.0)}) == 10


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda g, q: nearest_neighbours(g, q[:, :3], 2), r'\(83, 12\).*\(29, 3\)'),
        (lambda g, q: nearest_neighbours(g, q, 84), r'k=84.*\[1, 83\]'),
        (lambda g, q: nearest_neighbours(g, q.index_fill(0, torch.tensor(3), float('nan')), 2), 'query.*NaN'),
        (lambda g, q: nearest_neighbours(g / 0, q, 2), 'gallery.*infinity'),
        (lambda g, q: clip_ks((10, 0), 83), 'at least 1'),
        (lambda g, q: clip_ks((10,), 0), 'gallery is empty'),
        (lambda g, q: knn_scores(g[:, :2], g[:, :2].long() * 0, 2, temperature=0), 'temperature=0'),
    ],
)
def test_errors_name_what_is_wrong(call, message):
    gallery, _, queries, _ = make_data()
    with pytest.raises(ValueError, match=message):
        call(gallery, queries)
