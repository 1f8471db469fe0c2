"""Linear classification of cached frozen features: logistic regression, fitted to convergence by L-BFGS.

:func:`linear_probe` standardises the features and chooses its one free number, the weight penalty, on training images
set aside. It is the quick probe for small data sets and for comparing checkpoints; published ImageNet probes train
with SGD on augmented crops and give other numbers. :func:`logistic_regression` is what few labels are fitted with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DEFAULT_PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DEFAULT_LAMBDAS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class LinearProbe:
    """Accuracies in percent on the evaluated images, and how the penalty was chosen.

    ``held_out``: top-1 on the part set aside, per penalty tried.
    """

    top1: float
    top5: float
    penalty: float
    held_out: dict[float, float]


@dataclass(frozen=True)
class LinearClassifier:
    """``logits(x) = ((x - mean) / scale) @ weight.T + bias``; weight (C, D), bias (C,)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def logits(self, features: Tensor) -> Tensor:
        standardised = (features.to(self.weight) - self.mean) / self.scale
        return F.linear(standardised, self.weight, self.bias)


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    penalties: Sequence[float] = DEFAULT_PENALTIES,
    held_out: float = 0.1,
    seed: int = 0,
    max_iter: int = 300,
    device: torch.device | str | None = None,
) -> LinearProbe:
    """Accuracies of :func:`fit_linear_probe` on ``features`` (Q, D), whose ``labels`` it never sees."""
    device = torch.device(device or 'cpu')
    num_classes = int(max(train_labels.max(), labels.max())) + 1
    classifier, penalty, scores = fit_linear_probe(
        train_features, train_labels, num_classes, penalties, held_out, seed, max_iter, device
    )
    accuracy = count_accuracy(classifier, features.to(device), labels.to(device))
    return LinearProbe(accuracy['top1'], accuracy['top5'], penalty, scores)


def fit_linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    num_classes: int,
    penalties: Sequence[float] = DEFAULT_PENALTIES,
    held_out: float = 0.1,
    seed: int = 0,
    max_iter: int = 300,
    device: torch.device | str | None = None,
) -> tuple[LinearClassifier, float, dict[float, float]]:
    """Fits on the training images, with the penalty that scores best on a part of them; also that penalty, and the
    top-1 of each on the part.

    Of each class round(``held_out`` * size) training images, at least one where the class has two, are drawn
    by ``seed``; penalties are tried from strong to weak, each starting from the last solution, and equal
    scores go to the stronger. The classifier is then fitted on all training images. Deterministic. Computes in the
    floating type of ``train_features``.
    """
    if not penalties or min(penalties) < 0:
        raise ValueError(f'linear probe: penalties={tuple(penalties)}, must be one or more numbers >= 0')
    device = torch.device(device or 'cpu')
    train_features, train_labels = train_features.to(device), train_labels.to(device)
    aside = hold_out(train_labels.cpu(), held_out, seed).to(device)

    scores: dict[float, float] = {}
    classifier = None
    kept, kept_labels = train_features[~aside], train_labels[~aside]
    for penalty in sorted(penalties, reverse=True):
        if len(penalties) == 1 or not aside.any():
            scores[penalty] = float('nan')
            continue
        classifier = fit_logistic(kept, kept_labels, num_classes, penalty, max_iter, start=classifier)
        scores[penalty] = count_accuracy(classifier, train_features[aside], train_labels[aside])['top1']
    best = max(scores, key=lambda penalty: scores[penalty])  # the first, hence strongest, of equal ones
    return fit_logistic(train_features, train_labels, num_classes, best, max_iter), best, scores


def logistic_regression(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    lambdas: Sequence[float] = DEFAULT_LAMBDAS,
    max_iter: int = 300,
    device: torch.device | str | None = None,
) -> dict[float, dict[str, float]]:
    """Accuracies in percent, ``{lambda: {'top1': ..., 'top5': ...}}``: the frozen way to learn from 1% or 10% of the
    labels.

    Minimises the summed cross-entropy + lambda / 2 * |weight|^2 over L2-normalised features, without a bias: with
    scikit-learn's LogisticRegression, C = 1 / lambda. Nothing is chosen: every lambda is scored.
    """
    if not lambdas or min(lambdas) < 0:
        raise ValueError(f'logistic regression: lambdas={tuple(lambdas)}, must be one or more numbers >= 0')
    device = torch.device(device or 'cpu')
    # Longer features and a penalty that grows by the square of it are the same problem. At length sqrt(D) a feature is
    # about 1, for which the tolerances of the solver are meant.
    width = train_features.shape[1]
    gallery, queries = (width**0.5 * F.normalize(each.to(device), dim=1) for each in (train_features, features))
    num_classes = int(max(train_labels.max(), labels.max())) + 1
    found: dict[float, dict[str, float]] = {}
    classifier = None
    for penalty in sorted(lambdas, reverse=True):
        classifier = fit_logistic(
            gallery,
            train_labels.to(device),
            num_classes,
            penalty * width / len(gallery),
            max_iter,
            start=classifier,
            standardise=False,
            with_bias=False,
        )
        found[penalty] = count_accuracy(classifier, queries, labels.to(device))
    return {penalty: found[penalty] for penalty in sorted(found)}


def hold_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """bool (M,): True for the images set aside, the same share of each class. A single image stays."""
    if not 0 < share < 1:
        raise ValueError(f'linear probe: held_out={share}, must lie in (0, 1); it is a share of the images')
    generator = torch.Generator().manual_seed(seed)
    aside = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        aside[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return aside


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    penalty: float,
    max_iter: int = 300,
    start: LinearClassifier | None = None,
    chunk: int = 65536,
    standardise: bool = True,
    with_bias: bool = True,
) -> LinearClassifier:
    """Minimises mean cross-entropy + penalty / 2 * |weight|^2 over standardised features; the bias is free.

    With scikit-learn's LogisticRegression the same problem has C = 1 / (penalty * M). Logits are formed for
    ``chunk`` images at a time. Without ``standardise`` features are taken as they are, without ``with_bias`` the
    bias is 0.
    """
    mean, scale = torch.zeros_like(features[0]), torch.ones_like(features[0])
    if standardise:
        mean, scale = feature_scale(features)
    if start is None:
        weight = features.new_zeros(num_classes, features.shape[1])
        bias = features.new_zeros(num_classes)
    else:
        weight, bias = start.weight.clone(), start.bias.clone()
    weight.requires_grad_()
    bias.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iter,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        history_size=20,
        line_search_fn='strong_wolfe',
    )

    @torch.no_grad()
    def objective() -> Tensor:
        total = 0.5 * penalty * weight.square().sum()
        weight.grad, bias.grad = penalty * weight, torch.zeros_like(bias)
        for first in range(0, len(features), chunk):
            rows = (features[first : first + chunk] - mean) / scale
            log_probability = F.linear(rows, weight, bias).log_softmax(1)
            target = F.one_hot(labels[first : first + chunk], num_classes).to(rows)
            total = total - (target * log_probability).sum() / len(features)
            residual = (log_probability.exp() - target) / len(features)
            weight.grad += residual.T @ rows
            if with_bias:
                bias.grad += residual.sum(0)
        return total

    optimizer.step(objective)
    return LinearClassifier(weight.detach(), bias.detach(), mean, scale)


def feature_scale(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (n) of each column of (M, D), the latter 1 where it is nothing."""
    scale = features.std(0, correction=0)
    # A constant feature (dead unit, black border) carries nothing; dividing by its std would be noise.
    return features.mean(0), torch.where(scale > 1e-6 * scale.max().clamp(min=1e-12), scale, torch.ones_like(scale))


@torch.no_grad()
def count_accuracy(classifier: LinearClassifier, features: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent."""
    correct = dict(top1=0, top5=0)
    for rows, wanted in zip(features.split(65536), labels.split(65536), strict=True):
        ranked = classifier.logits(rows).topk(min(5, len(classifier.bias)), dim=1).indices
        hits = ranked == wanted[:, None]
        correct['top1'] += int(hits[:, 0].sum())
        correct['top5'] += int(hits.any(1).sum())
    return {name: 100 * count / len(labels) for name, count in correct.items()}
