"""The linear probe of DINO, iBOT and AttMask over cached features, at many learning rates in one pass.

Every head sees the same batches, so all of them are one matrix product. Features are those of the evaluation view:
without the random crops of the published probe, which asks for the backbone in every epoch, numbers are a little
lower; ``tools/train.py`` with a linear config is the published one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear import feature_scale, hold_out

# iBOT's: 1 to 9 times 1e-4 to 1, per 256 images of a batch.
DEFAULT_LRS = tuple(digit * 10.0**power for power in range(-4, 1) for digit in range(1, 10))
DEFAULT_WEIGHT_DECAYS = (0.0, 1e-6)
SELECT_ON = ('train', 'val')


@dataclass(frozen=True)
class Head:
    """One head of a scan; ``selection``: its top-1 in percent on the images that the choice is made by, NaN where it
    diverged."""

    lr: float
    weight_decay: float
    selection: float


@dataclass(frozen=True)
class LinearScan:
    """Accuracies in percent of the head that was chosen. ``heads`` holds all of them, in the order of the grid.

    ``at_edge``: the largest or smallest learning rate was chosen, so a better one may lie beyond.
    """

    top1: float
    top5: float
    chosen: Head
    heads: list[Head]
    at_edge: bool


def check_grid(
    lrs: Sequence[float], weight_decays: Sequence[float], epochs: int, batch_size: int, select_on: str
) -> None:
    if select_on not in SELECT_ON:
        raise ValueError(f'linear scan: select_on={select_on!r}, must be one of {SELECT_ON}')
    for name, value in (('epochs', epochs), ('batch_size', batch_size)):
        if value < 1:
            raise ValueError(f'linear scan: {name}={value}, must be at least 1')
    if not lrs or not min(lrs) > 0:
        raise ValueError(f'linear scan: lrs={tuple(lrs)}, must be one or more numbers greater than 0')
    if not weight_decays or min(weight_decays) < 0:
        raise ValueError(f'linear scan: weight_decays={tuple(weight_decays)}, must be one or more numbers >= 0')


def linear_scan(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    lrs: Sequence[float] = DEFAULT_LRS,
    weight_decays: Sequence[float] = DEFAULT_WEIGHT_DECAYS,
    epochs: int = 100,
    batch_size: int = 1024,
    select_on: str = 'train',
    standardise: bool = False,
    held_out: float = 0.1,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> LinearScan:
    """Trains a head for each learning rate and weight decay, all at once, and scores the one that is chosen.

    Args:
        lrs: per 256 images of a batch.
        batch_size: at most; the training images where they are fewer.
        select_on: 'train': by the top-1 on a part of the training images, ``held_out`` of each class, that no head is
            trained on. 'val': all training images are trained on and the head is chosen by the accuracy that is then
            reported, as iBOT does: its number is the best of many on the test images.
        standardise: what a BatchNorm without weights in front of the head does, as in MAE's probe.

    Of equal heads the one of smaller learning rate and weight decay is chosen. Deterministic on a CPU.
    """
    check_grid(lrs, weight_decays, epochs, batch_size, select_on)
    device = torch.device(device or 'cpu')
    num_classes = int(max(train_labels.max(), labels.max())) + 1
    if select_on == 'val':
        judged, judged_labels = features, labels
    else:
        aside = hold_out(train_labels, held_out, seed)
        if not aside.any():
            raise ValueError(
                "linear scan: no class has two training images, so none can be set aside; use select_on='val'"
            )
        judged, judged_labels = train_features[aside], train_labels[aside]
        train_features, train_labels = train_features[~aside], train_labels[~aside]
    grid = [(lr, decay) for lr in sorted(lrs) for decay in sorted(weight_decays)]
    heads = train_heads(train_features, train_labels, num_classes, grid, epochs, batch_size, standardise, seed, device)
    selection = heads.accuracies(judged, judged_labels)['top1']
    scored = [Head(*settings, top1) for settings, top1 in zip(grid, selection, strict=True)]
    best = max(range(len(scored)), key=lambda place: -1 if math.isnan(selection[place]) else selection[place])
    if math.isnan(selection[best]):
        raise ValueError(f'linear scan: every head diverged, the smallest learning rate was {min(lrs)}')
    found = heads.only(best).accuracies(features, labels)
    at_edge = len(lrs) > 1 and scored[best].lr in (min(lrs), max(lrs))
    return LinearScan(found['top1'][0], found['top5'][0], scored[best], scored, at_edge)


@dataclass(frozen=True)
class Heads:
    """``logits(x) = ((x - mean) / scale) @ weight + bias``; weight (D, H, C), bias (H, C)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def only(self, place: int) -> 'Heads':
        chosen = slice(place, place + 1)
        return Heads(self.weight[:, chosen], self.bias[chosen], self.mean, self.scale)

    def logits(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, H, C)"""
        rows = (features.to(self.weight) - self.mean) / self.scale
        return torch.addmm(self.bias.flatten(), rows, self.weight.flatten(1)).unflatten(1, self.bias.shape)

    @torch.no_grad()
    def accuracies(self, features: Tensor, labels: Tensor, chunk: int = 1024) -> dict[str, list[float]]:
        """Top-1 and top-5 of each head in percent; NaN where its weights are not finite."""
        correct = dict(top1=0, top5=0)
        for rows, wanted in zip(features.split(chunk), labels.split(chunk), strict=True):
            ranked = self.logits(rows).topk(min(5, self.bias.shape[1]), dim=2).indices.cpu()
            hits = ranked == wanted[:, None, None].cpu()
            correct['top1'] = correct['top1'] + hits[..., 0].sum(0)
            correct['top5'] = correct['top5'] + hits.any(2).sum(0)
        broken = ~(self.weight.isfinite().all(2).all(0) & self.bias.isfinite().all(1)).cpu()
        shares = {name: 100 * count.double() / len(labels) for name, count in correct.items()}
        return {name: share.masked_fill(broken, float('nan')).tolist() for name, share in shares.items()}


@torch.no_grad()
def train_heads(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    grid: Sequence[tuple[float, float]],
    epochs: int = 100,
    batch_size: int = 1024,
    standardise: bool = False,
    seed: int = 0,
    device: torch.device | str = 'cpu',
) -> Heads:
    """A linear head for each (learning rate per 256 images, weight decay) of ``grid``, on the same batches.

    SGD with momentum 0.9; the learning rate falls to 0 along half a cosine, epoch by epoch. All heads start from one
    draw, N(0, 0.01) and bias 0, so that they differ in nothing but their settings. ``features`` (M, D) may be
    memory-mapped: a batch at a time goes to ``device``.
    """
    generator = torch.Generator().manual_seed(seed)
    width, batch_size = features.shape[1], min(batch_size, len(features))
    mean, scale = torch.zeros(width), torch.ones(width)
    if standardise:
        mean, scale = feature_scale(features)
    drawn = 0.01 * torch.randn(width, 1, num_classes, generator=generator)
    heads = Heads(
        drawn.repeat(1, len(grid), 1).to(device),
        torch.zeros(len(grid), num_classes, device=device),
        mean.to(device),
        scale.to(device),
    )
    rates = torch.tensor([lr for lr, _ in grid], device=device)[:, None] * batch_size / 256
    decays = torch.tensor([decay for _, decay in grid], device=device)[:, None]
    velocities = torch.zeros_like(heads.weight), torch.zeros_like(heads.bias)
    for epoch in range(epochs):
        rate = rates * 0.5 * (1 + math.cos(math.pi * epoch / epochs))  # (H, 1)
        for batch in torch.randperm(len(features), generator=generator).split(batch_size):
            rows = ((features[batch].to(device, torch.float32)) - heads.mean) / heads.scale
            # The gradient of the mean cross-entropy of every head: no head sees another one's.
            residual = torch.addmm(heads.bias.flatten(), rows, heads.weight.flatten(1)).unflatten(1, heads.bias.shape)
            residual = residual.softmax(2)
            residual -= F.one_hot(labels[batch].to(device), num_classes)[:, None]
            residual /= len(batch)
            gradients = (rows.T @ residual.flatten(1)).unflatten(1, heads.bias.shape), residual.sum(0)
            for weight, velocity, gradient in zip((heads.weight, heads.bias), velocities, gradients, strict=True):
                gradient += decays * weight
                velocity.mul_(0.9).add_(gradient)
                weight -= rate * velocity
    return heads
