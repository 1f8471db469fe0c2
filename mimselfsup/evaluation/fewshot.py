"""k-NN from a few labelled images of each class."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .features import Features
from .knn import DEFAULT_TEMPERATURE, clip_ks, knn_classify


@dataclass(frozen=True)
class Shots:
    """``starts``: where among the sorted images of a class each subset begins; ``k`` neighbours vote."""

    starts: tuple[int, ...]
    k: int


# Of AttMask's released code (ECCV 2022).
PROTOCOL = {
    1: Shots((0, 5, 10, 15, 20), k=1),
    5: Shots((0, 5, 10, 15, 20), k=20),
    10: Shots((0, 10, 20, 30, 40), k=20),
    20: Shots((0, 20, 40, 60, 80), k=20),
}


def check_shots(shots: Sequence[int]) -> None:
    for number in shots:
        if number not in PROTOCOL:
            raise ValueError(f'few-shot: shots={number}, must be one of {", ".join(map(str, PROTOCOL))}')
    if not shots:
        raise ValueError(f'few-shot: no shots, name one or more of {", ".join(map(str, PROTOCOL))}')


def images_needed(shots: Sequence[int]) -> int:
    """How many images of each class the subsets reach into."""
    return max(max(PROTOCOL[number].starts) + number for number in shots)


def few_shot_subset(labels: Tensor, paths: Sequence[str], shots: int, start: int) -> tuple[Tensor, int]:
    """Indices of images ``start`` to ``start + shots`` of each class, in the order of the sorted paths; and how many
    classes end before that.

    Those give their last ``shots`` images, or all where they have fewer.
    """
    order = sorted(range(len(paths)), key=lambda index: paths[index])
    members: dict[int, list[int]] = {}
    for index in order:
        members.setdefault(int(labels[index]), []).append(index)
    chosen: list[int] = []
    ended = 0
    for label in sorted(members):
        first = max(min(start, len(members[label]) - shots), 0)
        ended += len(members[label]) < start + shots
        chosen += members[label][first : first + shots]
    return torch.tensor(chosen), ended


def few_shot_knn(
    train: Features,
    val: Features,
    shots: Sequence[int] = tuple(PROTOCOL),
    temperature: float = DEFAULT_TEMPERATURE,
    device: torch.device | str | None = None,
) -> dict[int, dict[str, float]]:
    """Of each number of shots: the mean top-1 and top-5 in percent over the subsets, ``top1_subsets`` their standard
    deviation (n - 1), and ``ended``, the largest number of classes that were too short for a subset.

    Subsets and k are :data:`PROTOCOL`'s; with fewer images in a subset than k, all of them vote.
    """
    check_shots(shots)
    found: dict[int, dict[str, float]] = {}
    for number in shots:
        runs = []
        ended = 0
        for start in PROTOCOL[number].starts:
            subset, short = few_shot_subset(train.labels, train.paths, number, start)
            ended = max(ended, short)
            ks = clip_ks((PROTOCOL[number].k,), len(subset))
            gallery = (train.features[subset], train.labels[subset])
            accuracy = knn_classify(*gallery, val.features, val.labels, ks, temperature, device)
            runs.append(accuracy[ks[0]])
        top1 = [run['top1'] for run in runs]
        found[number] = dict(
            top1=statistics.fmean(top1),
            top5=statistics.fmean(run['top5'] for run in runs),
            top1_subsets=statistics.stdev(top1),
            ended=ended,
        )
    return found
