"""How far attention reaches: the mean distance between the patch that asks and those that it attends to."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .attention_maps import attention_maps


def attention_distance(attention: Tensor, grid: tuple[int, int], patch_size: tuple[float, float] = (1, 1)) -> Tensor:
    """(..., N, N), from each patch of a ``grid`` (h, w) to each, -> (...): the mean over the patches that ask.

    Distances lie between the centres of patches, in pixels for the ``patch_size`` (h, w) of the model and in patches
    without it. The one of a patch is the mean over all patches, itself included, weighted by attention:

        d(q) = sum_k attention(q, k) |place(q) - place(k)| / sum_k attention(q, k)

    The sum below makes up for what goes to the extra tokens, which are nowhere. Otherwise a model that attends to
    its [CLS] token a lot, or has many of them, would seem local.

    Source: the mean attention distance of ViT, arXiv 2010.11929, appendix D.7; SemanticMIM, appendix A and figure 14,
    which does not say what becomes of the proxies.
    """
    rows, columns = grid
    if attention.shape[-2:] != (rows * columns, rows * columns):
        raise ValueError(
            f'attention_distance: attention is {tuple(attention.shape)}, must end in {rows * columns} x '
            f'{rows * columns} for a grid of {rows} x {columns} patches'
        )
    down, right = torch.meshgrid(
        torch.arange(rows) * patch_size[0], torch.arange(columns) * patch_size[1], indexing='ij'
    )
    places = torch.stack([down, right], -1).flatten(0, 1).to(attention)  # (N, 2)
    distances = torch.linalg.vector_norm(places[:, None] - places, dim=-1)
    return ((attention * distances).sum(-1) / attention.sum(-1)).mean(-1)


def attention_distances(backbone: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """(blocks, heads) in pixels: the mean over all images of ``batches``, (B, 3, H, W) each, on the CPU."""
    total, count = 0.0, 0
    for images in batches:
        grid, extra = backbone.token_grid(images.shape[-2:]), getattr(backbone, 'num_extra_tokens', 0)
        per_block = [
            attention_distance(maps[..., extra:, extra:], grid, backbone.patch_size).sum(0)
            for maps in attention_maps(backbone, images)
        ]
        total = total + torch.stack(per_block).double().cpu()
        count += len(images)
    if not count:
        raise ValueError('attention_distances: there is no image')
    return (total / count).float()
