"""A backbone out of a checkpoint of anybody's, ready for features."""

import os

import torch
from torch import nn

from mimselfsup.interchange import convert

from .model import to_device


def load(
    checkpoint: str | os.PathLike,
    network: str | None = None,
    *,
    source: str = 'auto',
    num_heads: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    device: torch.device | str = 'cpu',
    trusted: bool = False,
) -> nn.Module:
    """The backbone of a file of any family in ``mimselfsup.interchange.FAMILIES``, in eval mode on ``device``.

    No config is needed: shapes say what it is, and where they do not, the file or the arguments do; see
    :func:`mimselfsup.interchange.convert`. ``load(file).encode(images)`` gives
    :class:`~mimselfsup.models.backbones.Tokens`. Raises CheckpointError for what is not recognised.
    """
    found = convert(checkpoint, source, network, num_heads=num_heads, img_size=img_size, trusted=trusted)
    return found.backbone.to(to_device(device))
