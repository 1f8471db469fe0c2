"""Finding the original of a distorted copy, as DINO (arXiv 2104.14294, section 4.2.1) scores it on Copydays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mimselfsup.models.backbones.tokens import Tokens

from .retrieval import average_precision, rank_images

POWER = 4.0
SMALLEST = 1e-6  # GeM is for positive numbers: what lies below counts as this
TOP = 20  # a copy that comes later is not found
SMALLEST_VARIANCE = 1e-5  # of the largest; smaller ones are taken as this, or whitening would blow up noise


def cls_and_gem(tokens: Tokens, power: float = POWER) -> Tensor:
    """(B, 2 D): the [CLS] token and, beside it, the generalised mean of the patch tokens, (mean x^p)^(1/p).

    Of several [CLS] tokens the mean; without one (B, D), the generalised mean alone.
    """
    pooled = tokens.patches.clamp(min=SMALLEST).pow(power).mean(1).pow(1 / power)
    return torch.cat([tokens.extra.mean(1), pooled], 1) if tokens.extra.shape[1] else pooled


@dataclass(frozen=True)
class Whitening:
    """``projection`` (D, D) and ``mean`` (D,), float64."""

    mean: Tensor
    projection: Tensor

    @classmethod
    def fit(cls, features: Tensor, exponent: float = 0.5, centred: bool = False) -> 'Whitening':
        """Principal axes of ``features`` (n, D), each divided by its variance to the ``exponent``; 0.5 whitens.

        DINO's released code takes the mean from what it is applied to, but not from the features that it measures
        variances of; that is ``centred=False``, of the published numbers.
        """
        features = features.double()
        mean = features.mean(0)
        measured = features - mean if centred else features
        variances, axes = torch.linalg.eigh(measured.T @ measured / len(features))
        variances = variances.clamp(min=SMALLEST_VARIANCE * float(variances.max()))
        return cls(mean, (axes * variances**-exponent).T)

    def __call__(self, features: Tensor) -> Tensor:
        return (features.double() - self.mean) @ self.projection.T


def copy_map(queries: Tensor, database: Tensor, source: Sequence[int], top: int = TOP) -> float:
    """Mean average precision in percent. ``source``: the place in ``database`` (n, D) of the original of each of
    ``queries`` (Q, D). What is not among the ``top`` first counts as not found."""
    orders = rank_images(queries, database)[:, :top]
    _, ranks = np.nonzero(orders == np.asarray(source)[:, None])
    return 100 * sum(average_precision(rank, 1) for rank in ranks[:, None]) / len(queries)
