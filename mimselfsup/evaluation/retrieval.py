"""Ranking images by likeness to a query, scored as on revisited Oxford and Paris (arXiv 1803.11285)."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

KS = (1, 5, 10)


def average_precision(ranks: np.ndarray, num_positives: int) -> float:
    """Area under precision over recall by trapezoids, in [0, 1], as the authors of the Oxford buildings define it.

    ``ranks``: of the positives that were found, ascending from 0. One at rank r with j before it adds the mean of
    j / r and (j + 1) / (r + 1), where 0 / 0 is 1.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    found = np.arange(len(ranks))
    before = np.where(ranks == 0, 1.0, found / np.maximum(ranks, 1))
    after = (found + 1) / (ranks + 1)
    return float((before + after).sum() / (2 * num_positives))


def chance_average_precision(num_images: int, num_positives: int, limit: int | None = None) -> float:
    """What :func:`average_precision` is on average over all orders of the images, only the first ``limit`` counted.

    In closed form: each rank r holds a positive with probability m / n, and of those before it a share of
    q = (m - 1) / (n - 1) are positives.
    """
    count = num_images if limit is None else min(limit, num_images)
    if not count or not num_positives:
        return 0.0
    share = (num_positives - 1) / max(num_images - 1, 1)
    harmonic = float((1 / np.arange(1, count + 1)).sum())
    return (1 + (count - 1) * share + count * share + (1 - share) * harmonic) / (2 * num_images)


def ranks_of(order: np.ndarray, positives: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Ranks of ``positives`` in ``order`` (places of all images, best first), ascending from 0, as if the ``ignored``
    were not there."""
    found = np.flatnonzero(np.isin(order, positives))
    left_out = np.isin(order, ignored)
    return found - (np.cumsum(left_out) - left_out)[found]


def precision_at(ranks: np.ndarray, k: int) -> float:
    """The share of positives among the first k, or among those up to the last positive if that comes earlier: a query
    with three positives can have a precision of 1 at 10. So counts the authors' code."""
    reach = min(int(ranks[-1]) + 1, k)
    return float((ranks < reach).sum() / reach)


def score_rankings(
    orders: Sequence[np.ndarray],
    positives: Sequence[np.ndarray],
    ignored: Sequence[np.ndarray],
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """``map`` and the mean precision ``p1``, ``p5``, ... at ``ks``, all in percent, and ``queries``: how many had a
    positive at all. The others count for nothing. Raises ValueError if none has one."""
    scores: list[list[float]] = []
    for order, wanted, left_out in zip(orders, positives, ignored, strict=True):
        if len(wanted):
            ranks = ranks_of(order, wanted, left_out)
            scores.append([average_precision(ranks, len(wanted)), *(precision_at(ranks, k) for k in ks)])
    if not scores:
        raise ValueError('retrieval: no query has a positive')
    means = 100 * np.mean(scores, axis=0)
    names = ['map', *(f'p{k}' for k in ks)]
    return dict(zip(names, map(float, means), strict=True), queries=len(scores))


def revisited_tasks(
    easy: Sequence[np.ndarray], hard: Sequence[np.ndarray], junk: Sequence[np.ndarray]
) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """{'medium', 'hard': (positives, ignored)}, per query. Medium asks for easy and hard images and ignores junk, hard
    asks for the hard ones and ignores the easy ones too. A setting that no query has positives for is left out."""
    tasks = dict(
        medium=([np.concatenate(pair) for pair in zip(easy, hard, strict=True)], list(junk)),
        hard=(list(hard), [np.concatenate(pair) for pair in zip(junk, easy, strict=True)]),
    )
    return {name: task for name, task in tasks.items() if any(map(len, task[0]))}


def rank_images(queries: Tensor, images: Tensor) -> np.ndarray:
    """(Q, n): places of ``images`` (n, D) by falling cosine with each of ``queries`` (Q, D); equal ones in their
    order."""
    similarity = F.normalize(queries, dim=1) @ F.normalize(images, dim=1).T
    return similarity.sort(dim=1, descending=True, stable=True).indices.cpu().numpy()
