"""Weighted k-nearest-neighbour classification of frozen features.

Protocol of DINO (arXiv 2104.14294), which iBOT and AttMask share: features are L2-normalised, the k training
images of largest cosine similarity vote for their class with weight exp(similarity / 0.07). No training, no
augmentation, nothing to tune but k.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DEFAULT_KS = (10, 20, 100, 200)
DEFAULT_TEMPERATURE = 0.07
BLOCK = 64  # columns of which only the largest is looked at first


def knn_classify(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    temperature: float = DEFAULT_TEMPERATURE,
    device: torch.device | str | None = None,
    **chunks: int,
) -> dict[int, dict[str, float]]:
    """Accuracies in percent, ``{k: {'top1': ..., 'top5': ...}}``, all from one pass over the gallery.

    Args: features (M, D) and (Q, D), labels (M,) and (Q,) int64; ``chunks`` go to
    :func:`nearest_neighbours`. A k beyond the M training images stands under M: see :func:`clip_ks`.
    """
    ks = clip_ks(ks, len(train_features))
    similarities, indices = nearest_neighbours(train_features, features, ks[-1], device=device, **chunks)
    return knn_accuracy(similarities, train_labels[indices], labels, ks, temperature)


def clip_ks(ks: Sequence[int], gallery_size: int) -> tuple[int, ...]:
    """The distinct k in ascending order; one that exceeds the gallery becomes the gallery's size.

    So a small data set is scored with all its images, under the number that was really used.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f'k-NN: ks={tuple(ks)}, must be one or more numbers of at least 1')
    if gallery_size < 1:
        raise ValueError('k-NN: the gallery is empty, there is no training image to compare with')
    return tuple(sorted({min(k, gallery_size) for k in ks}))


@torch.no_grad()
def nearest_neighbours(
    gallery: Tensor,
    queries: Tensor,
    k: int,
    query_chunk: int = 1024,
    gallery_chunk: int = 32768,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """The k gallery rows of largest cosine similarity for each query: similarities and indices, (Q, k) on CPU.

    Sorted by falling similarity; of equal ones the lower index comes first, so that the answer does not
    depend on the size of the chunks. The gallery is read once, in order, and may be memory-mapped: ImageNet-1k
    (1.28 M x 768 against 50 k) needs 0.8 GiB besides the features.

    Raises ValueError for widths that differ, a k outside [1, gallery size] and features that are not finite.
    """
    if gallery.ndim != 2 or queries.ndim != 2 or gallery.shape[1] != queries.shape[1]:
        raise ValueError(
            f'k-NN: gallery features are {tuple(gallery.shape)} and queries {tuple(queries.shape)}, expected '
            f'(M, D) and (Q, D)'
        )
    if not 1 <= k <= len(gallery):
        raise ValueError(f'k-NN: k={k}, must lie in [1, {len(gallery)}], the number of gallery images')
    device = torch.device(device or 'cpu')
    queries = _normalise(queries, 'query', device)
    best = torch.empty(len(queries), 0, dtype=torch.int64, device=device)
    for start in range(0, len(gallery), gallery_chunk):
        rows = _normalise(gallery[start : start + gallery_chunk], 'gallery', device)
        merged = []
        for first in range(0, len(queries), query_chunk):
            chunk = slice(first, first + query_chunk)
            found = best[chunk]
            similarities = queries[chunk] @ rows.T
            if found.shape[1] < k or len(rows) % BLOCK:
                fresh = _largest(similarities, k, start)
            else:
                fresh = _above(similarities, _similarity(found[:, -1]), k, start)
            keys = torch.cat([found, fresh], dim=1)
            merged.append(keys.topk(min(k, keys.shape[1]), dim=1).values)
        best = torch.cat(merged) if merged else best.new_empty(0, k)
    indices = 0xFFFFFFFF - (best & 0xFFFFFFFF)
    return _similarity(best).cpu(), indices.cpu()


def check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f'k-NN: temperature={temperature}, must be greater than 0')


def knn_scores(
    similarities: Tensor,
    neighbour_labels: Tensor,
    num_classes: int,
    temperature: float = DEFAULT_TEMPERATURE,
) -> Tensor:
    """The votes (Q, C) float64 of neighbours given as similarities and labels, both (Q, k).

    A class gets the sum of exp(similarity / temperature) over its neighbours. Each row is divided by its
    largest single vote, which changes no ranking and keeps small temperatures from overflowing.
    """
    check_temperature(temperature)
    similarities = similarities.double()
    votes = ((similarities - similarities.amax(1, keepdim=True)) / temperature).exp()
    return votes.new_zeros(len(votes), num_classes).scatter_add_(1, neighbour_labels, votes)


def knn_accuracy(
    similarities: Tensor,
    neighbour_labels: Tensor,
    labels: Tensor,
    ks: Sequence[int],
    temperature: float = DEFAULT_TEMPERATURE,
    chunk: int = 4096,
) -> dict[int, dict[str, float]]:
    """Top-1 and top-5 accuracy in percent for each k, from neighbours (Q, K) sorted by falling similarity.

    Between classes of equal score the lower label wins. A class without a neighbour is never counted as
    found, so top-5 with fewer than five neighbours is no gift.
    """
    if len(labels) == 0:
        raise ValueError('k-NN: there is no image to classify')
    num_classes = int(max(neighbour_labels.max(), labels.max())) + 1
    result: dict[int, dict[str, float]] = {}
    for k in ks:
        correct = dict(top1=0, top5=0)
        for first in range(0, len(labels), chunk):
            part = slice(first, first + chunk)
            scores = knn_scores(similarities[part, :k], neighbour_labels[part, :k], num_classes, temperature)
            for name, count in count_correct(scores, labels[part]).items():
                correct[name] += count
        result[int(k)] = {name: 100 * count / len(labels) for name, count in correct.items()}
    return result


def count_correct(scores: Tensor, labels: Tensor) -> dict[str, int]:
    """How many rows of ``scores`` (Q, C), >= 0, have their label in first place, and among the first five.

    Equal scores are ranked by label. A score of 0 is no vote and is never correct.
    """
    own = scores.gather(1, labels[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    ahead = (scores > own) | ((scores == own) & (classes < labels[:, None]))
    rank = ahead.sum(1).masked_fill(own[:, 0] <= 0, scores.shape[1] + 5)
    return dict(top1=int((rank < 1).sum()), top5=int((rank < 5).sum()))


def best_k(result: dict[int, dict[str, Any]]) -> int:
    """The k of largest top-1; of equal ones the smallest."""
    return max(sorted(result), key=lambda k: result[k]['top1'])


def _normalise(features: Tensor, what: str, device: torch.device) -> Tensor:
    features = features.to(device, torch.float32)
    if not torch.isfinite(features).all():
        raise ValueError(f'k-NN: {what} features contain NaN or infinity; did the training diverge?')
    return F.normalize(features, dim=1)


def _largest(similarities: Tensor, k: int, offset: int) -> Tensor:
    """The min(k, M) largest of each row of (Q, M), in no order, as keys that sort by similarity, then index.

    A key holds the similarity in its high 32 bits and the complement of (offset + column) in its low ones.
    """
    count = similarities.shape[1]
    if count <= k:
        columns = torch.arange(count, device=similarities.device).expand_as(similarities)
        return _keys(similarities, columns + offset)
    values, columns = similarities.topk(k + 1, dim=1)
    keys = _keys(values[:, :k], columns[:, :k] + offset)
    # topk picks freely among equal values; that matters only where the k-th equals the next one.
    tied = (values[:, k - 1] == values[:, k]).nonzero()[:, 0]
    if len(tied):
        columns = torch.arange(count, device=similarities.device)
        keys[tied] = _keys(similarities[tied], columns + offset).topk(k, dim=1).values
    return keys


def _above(similarities: Tensor, floor: Tensor, k: int, offset: int) -> Tensor:
    """Keys of what in each row of (Q, M) is larger than the row's ``floor`` (Q,), padded with the smallest integer.

    ``floor`` is the k-th of those found so far, all of which stand before this chunk, so that an equal one comes too
    late. Late in a large gallery a handful is left in a row; to look for it among the maxima of blocks takes a tenth of
    the time of a topk.
    """
    blocks = similarities.unflatten(1, (-1, BLOCK))
    rows, columns = (blocks.amax(2) > floor[:, None]).nonzero(as_tuple=True)
    if 8 * len(rows) > blocks.shape[0] * blocks.shape[1]:
        return _largest(similarities, k, offset)
    values = blocks[rows, columns]  # (n, BLOCK)
    found, place = (values > floor[rows, None]).nonzero(as_tuple=True)
    rows, columns = rows[found], columns[found] * BLOCK + place  # still row by row
    counts = rows.bincount(minlength=len(similarities))
    rank = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    padded = rows.new_full((len(similarities), int(counts.max())), torch.iinfo(torch.int64).min)
    padded[rows, rank] = _keys(values[found, place], columns + offset)
    return padded


def _similarity(keys: Tensor) -> Tensor:
    return _sortable_inverse((keys >> 32).int())


def _keys(similarities: Tensor, indices: Tensor) -> Tensor:
    return (_sortable(similarities).long() << 32) + (0xFFFFFFFF - indices)


def _sortable(values: Tensor) -> Tensor:
    """float32 -> int32 of the same order. (Negative floats have descending bit patterns.)"""
    bits = (values + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal to 0.0
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _sortable_inverse(keys: Tensor) -> Tensor:
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(torch.float32)
