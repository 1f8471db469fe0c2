"""Classification without a label: clusters of images, and how well they are the classes.

scikit-learn and SciPy are imported where they are used: nothing else needs them, and it takes a second.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .clustering import cluster_agreement


def clustering_scores(assignments: Tensor | Sequence[int], labels: Tensor | Sequence[int]) -> dict[str, float]:
    """Of :func:`~mimselfsup.evaluation.clustering.cluster_agreement`, and ``fmi`` and ``accuracy``.

    ``fmi``: the Fowlkes-Mallows index, the geometric mean of precision and recall of pairs that are put together, in
    [0, 1].
    ``accuracy``: share of the samples that are in the cluster of their class, where each class has one cluster at most
    and each cluster one class, matched so that the share is largest. With more clusters than classes all samples of
    the clusters left over are errors.

    As iBOT and AttMask report it, there in percent.
    """
    from sklearn.metrics import fowlkes_mallows_score

    scores = cluster_agreement(assignments, labels)
    clusters, classes = (
        np.unique(np.asarray(each), return_inverse=True)[1].reshape(-1) for each in (assignments, labels)
    )
    return dict(
        scores,
        fmi=float(fowlkes_mallows_score(classes, clusters)),
        accuracy=matched_count(clusters, classes) / len(classes),
    )


def matched_count(clusters: np.ndarray, classes: np.ndarray) -> int:
    """The most samples (n,) that a one-to-one matching of clusters and classes, both numbered from 0, can agree on."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_matrix

    ones = np.ones(len(clusters), dtype=np.int64)
    table = coo_matrix((ones, (clusters, classes))).toarray()
    return int(table[linear_sum_assignment(table, maximize=True)].sum())


def k_means_clusters(features: Tensor, clusters: int, seed: int = 0, restarts: int = 10) -> Tensor:
    """(n,) int64: the cluster of each of the L2-normalised ``features`` (n, D), the best of ``restarts`` k-means."""
    from sklearn.cluster import KMeans

    if not 1 <= clusters <= len(features):
        raise ValueError(f'k-means: clusters={clusters}, must lie in [1, {len(features)}], the number of images')
    if not torch.isfinite(features).all():
        raise ValueError('k-means: features contain NaN or infinity; did the training diverge?')
    rows = F.normalize(features.float(), dim=1).numpy()
    found = KMeans(clusters, n_init=restarts, random_state=seed).fit_predict(rows)
    return torch.from_numpy(found.astype(np.int64))
