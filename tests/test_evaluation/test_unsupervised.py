from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics.cluster import pair_confusion_matrix

from mimselfsup.evaluation.clustering import cluster_agreement
from mimselfsup.evaluation.unsupervised import clustering_scores, k_means_clusters, matched_count


def test_six_samples_by_hand():
    # Cluster 7: classes 0 0 1; cluster 3: classes 1 1 1.
    found = clustering_scores([7, 7, 7, 3, 3, 3], [0, 0, 1, 1, 1, 1])
    # Pairs together in both: 4; in clusters: 6; in classes: 7.
    assert found['fmi'] == pytest.approx(4 / (6 * 7) ** 0.5)
    assert found['accuracy'] == pytest.approx(5 / 6)
    assert found.items() >= cluster_agreement([7, 7, 7, 3, 3, 3], [0, 0, 1, 1, 1, 1]).items()


def test_a_class_has_one_cluster_only_and_clusters_left_over_are_errors():
    labels = [0] * 6 + [1] * 4
    assert clustering_scores([5, 5, 5, 9, 9, 9, 2, 2, 2, 2], labels)['accuracy'] == pytest.approx(0.7)
    assert clustering_scores([5] * 10, labels)['accuracy'] == pytest.approx(0.6)
    # The most frequent class of both clusters is 0: one of them has to take the other.
    assert clustering_scores([1, 1, 1, 2, 2, 2, 1, 1, 2, 2], labels)['accuracy'] == pytest.approx(0.5)


@pytest.mark.parametrize('clusters', [3, 5, 6])
def test_matching_is_the_best_of_all(clusters):
    generator = torch.Generator().manual_seed(clusters)
    assignments = torch.randint(clusters, (60,), generator=generator).numpy()
    labels = torch.randint(4, (60,), generator=generator).numpy()
    table = np.zeros((6, 6), int)
    np.add.at(table, (assignments, labels), 1)
    best = max(sum(table[row, column] for row, column in enumerate(order)) for order in permutations(range(6)))
    assert matched_count(assignments, labels) == best


def test_fmi_counts_pairs():
    generator = torch.Generator().manual_seed(0)
    assignments, labels = torch.randint(6, (2, 300), generator=generator)
    (_, only_clusters), (only_classes, both) = pair_confusion_matrix(labels.numpy(), assignments.numpy())
    expected = both / ((both + only_clusters) * (both + only_classes)) ** 0.5
    assert clustering_scores(assignments, labels)['fmi'] == pytest.approx(expected)


def test_k_means_finds_directions_and_not_lengths():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 4
    features = torch.eye(4)[labels] + 0.05 * torch.randn(120, 4, generator=generator)
    features *= torch.logspace(-2, 2, 120)[torch.randperm(120, generator=generator)][:, None]
    found = k_means_clusters(features, 4)
    assert clustering_scores(found, labels)['accuracy'] == 1
    assert torch.equal(found, k_means_clusters(features, 4))


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r'clusters=5.*\[1, 3\]'):
        k_means_clusters(torch.ones(3, 2), 5)
    with pytest.raises(ValueError, match='NaN'):
        k_means_clusters(torch.full((3, 2), float('nan')), 2)
