"""How well clusters that nobody named agree with classes."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cluster_agreement(assignments: Tensor | Sequence[int], labels: Tensor | Sequence[int]) -> dict[str, float]:
    """Compares two partitions of the same N samples; names of clusters and classes do not matter.

    ``nmi``: mutual information over the mean of the two entropies, in [0, 1].
    ``ari``: share of pairs of samples on which both agree, less what chance would give (Hubert and Arabie): 1 for
    equal partitions, 0 on average for random ones, possibly below.
    ``purity``: share of samples that are of the most frequent class of their cluster. It rises with the number of
    clusters, up to 1 for clusters of one sample each.
    ``clusters``: how many are in use.

    nmi and ari are those of scikit-learn. Raises ValueError for empty or unequal lengths.
    """
    clusters, classes = (torch.as_tensor(each).flatten().cpu() for each in (assignments, labels))
    total = len(clusters)
    if total != len(classes) or total == 0:
        raise ValueError(
            f'cluster_agreement: {total} assignments and {len(classes)} labels; both must be of the same samples, at '
            f'least one'
        )
    clusters, classes = (each.unique(return_inverse=True)[1] for each in (clusters, classes))
    in_cluster, in_class = (each.bincount().double() for each in (clusters, classes))
    # The table of clusters x classes has N cells at most that are not empty.
    cells, in_cell = (clusters * len(in_class) + classes).unique(return_counts=True)
    cluster, kind = cells // len(in_class), cells % len(in_class)
    in_cell = in_cell.double()

    information = (in_cell / total * (in_cell * total / (in_cluster[cluster] * in_class[kind])).log()).sum()
    mean_entropy = (_entropy(in_cluster / total) + _entropy(in_class / total)) / 2
    pairs, cluster_pairs, class_pairs = (
        float((count * (count - 1) / 2).sum()) for count in (in_cell, in_cluster, in_class)
    )
    by_chance = cluster_pairs * class_pairs / max(total * (total - 1) / 2, 1)
    most = (cluster_pairs + class_pairs) / 2
    largest = torch.zeros_like(in_cluster).scatter_reduce_(0, cluster, in_cell, 'amax')
    return dict(
        nmi=float((information / mean_entropy).clamp(0, 1)) if mean_entropy > 0 else 1.0,
        ari=(pairs - by_chance) / (most - by_chance) if most != by_chance else 1.0,
        purity=float(largest.sum() / total),
        clusters=len(in_cluster),
    )


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.log()).sum()
