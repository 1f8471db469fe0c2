"""Objects followed through a clip by what looks alike: the labels of the first frame, handed on from patch to patch."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimselfsup.datasets.label_maps import resize_label_map

BLOCK = 16  # side, in tokens, of the squares that are asked together; bounds the memory


@dataclass(frozen=True)
class Propagation:
    """Constants of DINO's evaluation on DAVIS.

    Args:
        last_frames: frames whose labels are handed on, besides those of the first.
        temperature: of cosine similarities; a patch counts exp(cosine / temperature).
        radius: in tokens; a patch is compared with those at most so far from its own place, in rows and in columns.
            0: with all.
        top_k: how many patches, of those of all frames together, hand on their labels.
    """

    last_frames: int = 7
    temperature: float = 0.1
    radius: int = 12
    top_k: int = 5

    def __post_init__(self) -> None:
        for name, least in (('last_frames', 0), ('radius', 0), ('top_k', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name}={getattr(self, name)}, must be at least {least}')
        if not self.temperature > 0:
            raise ValueError(f'temperature={self.temperature}, must be above 0')


def propagate_labels(
    features: Iterable[Tensor], first: Tensor, settings: Propagation | None = None
) -> Iterator[Tensor]:
    """Soft labels (h, w, C) of the second frame, the third, ...: each adds up to 1 where those of the first do.

    Args:
        features: (h, w, D) of each frame, from the first; read one at a time, and as many kept as are handed on.
        first: (h, w, C), the labels of the first frame: shares of C objects, of which background is one.

    What is handed on from a frame are its soft labels, not a decision. Source: DINO, arXiv 2104.14294, section 4.2.2,
    after space-time correspondence as random walk, arXiv 2006.14613. Of patches that are exactly as similar as the last
    that counts, DINO's code keeps all, and here there are ``top_k`` in any case.
    """
    settings = settings or Propagation()
    frames = iter(features)
    start = _unit(next(frames))
    if first.shape[:2] != start.shape[:2]:
        raise ValueError(
            f'propagate_labels: the first labels are {tuple(first.shape[:2])}, the features {tuple(start.shape[:2])}; '
            f'both need the grid of the tokens'
        )
    first = first.to(start)
    recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=settings.last_frames)
    for frame in frames:
        queries = _unit(frame)
        sources = torch.stack([start, *(each for each, _ in recent)])
        labels = torch.stack([first, *(each for _, each in recent)])
        found = hand_on(queries, sources, labels, settings)
        recent.append((queries, found))
        yield found


def hand_on(queries: Tensor, sources: Tensor, labels: Tensor, settings: Propagation) -> Tensor:
    """Labels (h, w, C) of one frame, of unit vectors (h, w, D), from n frames (n, h, w, D) and labels (n, h, w, C).

    A square of tokens at a time, compared with the smallest rectangle that holds the surroundings of all of them: at
    60 x 104 tokens and 8 frames the similarities are 13 MB, where those of all pairs are 1.2 GB.
    """
    height, width = queries.shape[:2]
    reach = settings.radius or max(height, width)
    found = labels.new_empty(height, width, labels.shape[-1])
    down, right = torch.arange(height, device=queries.device), torch.arange(width, device=queries.device)
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            rows, columns = slice(top, min(top + BLOCK, height)), slice(left, min(left + BLOCK, width))
            near_rows = slice(max(rows.start - reach, 0), rows.stop + reach)
            near_columns = slice(max(columns.start - reach, 0), columns.stop + reach)
            asked = queries[rows, columns].flatten(0, 1)
            places = sources[:, near_rows, near_columns]
            similar = (asked @ places.flatten(0, 2).T).unflatten(1, places.shape[:3])  # (q, n, a, b)
            too_far = ((down[rows, None] - down[None, near_rows]).abs() > reach)[:, None, :, None] | (
                (right[columns, None] - right[None, near_columns]).abs() > reach
            )[None, :, None, :]
            similar.masked_fill_(too_far.flatten(0, 1)[:, None], float('-inf'))
            similar = similar.flatten(1)
            best, index = similar.topk(min(settings.top_k, similar.shape[1]))
            weights = (best / settings.temperature).softmax(-1)
            handed = labels[:, near_rows, near_columns].flatten(0, 2)[index]  # (q, k, C)
            mixed = torch.einsum('qk,qkc->qc', weights, handed)
            found[rows, columns] = mixed.unflatten(0, (-1, columns.stop - columns.start))
    return found


def first_labels(objects: np.ndarray, grid: tuple[int, int], count: int) -> Tensor:
    """(h, w, 1 + count), float32, 0 or 1, of a label map of numbers up to ``count``; what is 0 is background.

    A token takes the label at its centre: an object that lies between the centres is lost.
    """
    labels = torch.from_numpy(resize_label_map(objects, grid).astype(np.int64))
    return F.one_hot(labels, count + 1).float()


def decide(soft: Tensor, size: tuple[int, int], original: tuple[int, int]) -> np.ndarray:
    """A label map (H, W), uint8, of size ``original``, from soft labels (h, w, C) of a frame that had ``size`` pixels.

    As in DINO's code: bilinear to ``size``, each label stretched to [0, 1] over the frame (which favours small
    objects), the largest wins, nearest to ``original``.
    """
    maps = F.interpolate(soft.permute(2, 0, 1)[None], size=size, mode='bilinear', align_corners=False)[0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    spread = high - low
    maps = (maps - low) / torch.where(spread > 0, spread, 1)  # a label that is even all over says nothing: 0
    return resize_label_map(maps.argmax(0).to(torch.uint8).cpu().numpy(), original)


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1)
