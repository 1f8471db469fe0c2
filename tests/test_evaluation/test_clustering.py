import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from mimselfsup.evaluation.clustering import cluster_agreement


def test_six_samples_by_hand():
    # Cluster 7: classes 0 0 1; cluster 3: classes 1 1 1.
    found = cluster_agreement([7, 7, 7, 3, 3, 3], [0, 0, 1, 1, 1, 1])
    # Pairs together in both: 1 + 3 = 4; in clusters: 3 + 3; in classes: 1 + 6; of all: 15.
    assert found['ari'] == pytest.approx((4 - 6 * 7 / 15) / ((6 + 7) / 2 - 6 * 7 / 15))
    assert found['purity'] == pytest.approx(5 / 6)
    assert found['clusters'] == 2
    log = torch.tensor([2 / 6, 1 / 6, 3 / 6, 2 / 6, 4 / 6, 1 / 2], dtype=torch.float64).log()
    information = 2 / 6 * (log[0] - log[5] - log[3]) + 1 / 6 * (log[1] - log[5] - log[4])
    information += 3 / 6 * (log[2] - log[5] - log[4])
    entropies = -log[5] + -(2 / 6 * log[3] + 4 / 6 * log[4])
    assert found['nmi'] == pytest.approx(float(2 * information / entropies))


@pytest.mark.parametrize('clusters', [1, 3, 40, 5000])
def test_equals_scikit_learn(clusters):
    generator = torch.Generator().manual_seed(clusters)
    labels = torch.randint(0, 7, (600,), generator=generator)
    noise = torch.randint(0, 65536, (600,), generator=generator)
    assignments = torch.where(torch.rand(600, generator=generator) < 0.5, labels * 9001, noise) % clusters
    found = cluster_agreement(assignments, labels)
    assert found['nmi'] == pytest.approx(normalized_mutual_info_score(labels, assignments), abs=1e-12)
    assert found['ari'] == pytest.approx(adjusted_rand_score(labels, assignments), abs=1e-12)


@pytest.mark.parametrize(
    ('assignments', 'labels'), [([5], [0]), ([1, 1, 1], [0, 0, 0]), ([1, 2, 3], [0, 1, 2]), ([2, 2, 9], [1, 1, 0])]
)
def test_equal_partitions_agree_entirely(assignments, labels):
    found = cluster_agreement(assignments, labels)
    assert (found['nmi'], found['ari'], found['purity']) == pytest.approx((1, 1, 1))


def test_one_cluster_says_nothing_about_the_classes():
    found = cluster_agreement(torch.zeros(10), [0] * 6 + [1] * 4)
    assert (found['nmi'], found['ari'], found['purity'], found['clusters']) == (0, 0, 0.6, 1)


def test_counts_of_pairs_stay_exact_for_a_million_samples():
    labels = torch.arange(1_000_000) % 1000
    assert cluster_agreement(labels * 17, labels)['ari'] == 1


@pytest.mark.parametrize(('assignments', 'labels'), [([], []), ([1, 2], [1])])
def test_what_is_not_of_the_same_samples_is_refused(assignments, labels):
    with pytest.raises(ValueError, match='must be of the same samples'):
        cluster_agreement(assignments, labels)
