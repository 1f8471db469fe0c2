"""Does attention find the object? Thresholded [CLS] maps against masks of objects."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def keep_mass(attention: Tensor, mass: float = 0.6) -> Tensor:
    """bool (..., N): the fewest patches that hold more than ``mass`` of the attention (..., N) of their row.

    DINO's rule: ascending, patches are left out as long as what is left out does not exceed 1 - mass.
    """
    if not 0 < mass < 1:
        raise ValueError(f'mass={mass}, must lie in (0, 1); it is the share of the attention that is kept')
    values, order = attention.sort(-1)
    left_out = (values / values.sum(-1, keepdim=True)).cumsum(-1) <= 1 - mass
    return torch.ones_like(left_out).scatter(-1, order, ~left_out)


def jaccard(predicted: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of bool (..., H, W), over the last two dimensions; 1 where both are empty."""
    both = (predicted & truth).flatten(-2).sum(-1)
    either = (predicted | truth).flatten(-2).sum(-1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def attention_jaccard(
    attend: Callable[[Tensor], tuple[Tensor, tuple[int, int]]],
    batches: Iterable[tuple[Tensor, Iterable[Tensor]]],
    mass: float = 0.6,
) -> dict[str, float]:
    """Mean Jaccard index in percent over images whose objects are known.

    Args:
        attend: images (B, 3, H, W) -> attention (B, heads, N) and the grid (h, w) of the N patches.
        batches: images, and of each the masks of its K objects, bool (K, H, W). Images without objects do not count.
        mass: see :func:`keep_mass`.

    Each is a mean over the objects of an image, then over images. ``best_head``: of the head that fits each object
    best, as DINO reports it. The truth makes that choice, an oracle, and of more heads it finds a better one, so
    compare models of equally many. ``mean_head``: mean over the heads. ``mean_map``: of the mean map over heads, the
    saliency that masks go by. ``everything``: of the whole picture, what no map needs to be told. Besides, how many
    ``images`` and ``objects`` these are.

    Source: DINO, arXiv 2104.14294, figure 4 and appendix, its thresholding at 60% of the mass; objects and heads as its
    author explains in issue 54 of facebookresearch/dino.
    """
    totals = dict(best_head=0.0, mean_head=0.0, mean_map=0.0, everything=0.0)
    images_seen = objects_seen = 0
    for images, masks in batches:
        attention, grid = attend(images)
        attention = torch.cat([attention, attention.mean(1, keepdim=True)], 1).float().cpu()  # the mean map comes last
        for kept, truth in zip(keep_mass(attention, mass).unflatten(2, grid), masks, strict=True):
            if not len(truth):
                continue
            rows, columns = (side // cells for side, cells in zip(truth.shape[-2:], grid, strict=True))
            kept = kept.repeat_interleave(rows, 1).repeat_interleave(columns, 2)
            scores = jaccard(kept, truth[:, None])  # (K, heads + 1)
            totals['best_head'] += scores[:, :-1].amax(1).mean().item()
            totals['mean_head'] += scores[:, :-1].mean().item()
            totals['mean_map'] += scores[:, -1].mean().item()
            totals['everything'] += truth.float().mean().item()
            images_seen += 1
            objects_seen += len(truth)
    if not images_seen:
        raise ValueError('attention_jaccard: there is no image with an object')
    means = {name: 100 * total / images_seen for name, total in totals.items()}
    return dict(means, images=images_seen, objects=objects_seen)
