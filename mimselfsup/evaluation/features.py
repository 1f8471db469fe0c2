"""From images to one vector per image."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from mimselfsup.models.backbones import Tokens, image_feature

FEATURES = ('cls', 'avg')
PROTOTYPE = 'prototype'

Extractor = Callable[[dict], Tensor]


@dataclass(frozen=True)
class Features:
    """``features`` (n, D) float32, ``labels`` (n,) int64 or None, ``paths`` of the n images; on the CPU."""

    features: Tensor
    labels: Tensor | None
    paths: list[str]

    def rows(self, indices: Tensor) -> 'Features':
        """Some of the images, in the order of ``indices``."""
        labels = None if self.labels is None else self.labels[indices]
        return Features(self.features[indices], labels, [self.paths[index] for index in indices.tolist()])


def parse_feature(name: str) -> tuple[tuple[str, int], ...]:
    """The parts of a feature by its name, which are concatenated: (token, number of last blocks) each.

    'cls' is the [CLS] token, or the mean of them where there are several (SemanticMIM's proxies), 'avg' the mean of
    the patch tokens, of the last block; 'cls4' is the [CLS] token of each of the last 4 blocks, one after the other
    in the order of the network; '+' joins: 'cls+avg', 'cls4+avg'. So DINO probes ViT-S with 'cls4' and ViT-B with
    'cls+avg'.
    """
    parts = [re.fullmatch(r'(cls|avg)([1-9]\d*)?', part) for part in name.split('+')]
    if not all(parts):
        raise ValueError(
            f'feature={name!r}, must be cls or avg, with a number for so many of the last blocks (cls4), or several of '
            f'these joined by + (cls+avg)'
        )
    return tuple((part[1], int(part[2] or 1)) for part in parts)


def encoder_features(model: BaseModel, feature: str) -> Extractor:
    """A function from a collated batch to the backbone's (B, D); ``feature`` as in :func:`parse_feature`.

    The model should be in eval mode.
    """
    return lambda batch: encode_features(model, batch, (feature,))[feature]


@torch.no_grad()
def encode_features(model: BaseModel, batch: dict, kinds: Sequence[str]) -> dict[str, Tensor]:
    """Several kinds of feature from one pass through the backbone, (B, D) each; after its final norm.

    A kind is a name for :func:`parse_feature`, or 'prototype': (B, 1), the number of the prototype that the
    projector of a self-distillation answers most strongly for the image, that of the network that ``backbone`` is of.
    """
    parts = {kind: parse_feature(kind) for kind in kinds if kind != PROTOTYPE}
    blocks = max((number for terms in parts.values() for _, number in terms), default=1)
    inputs = model.data_preprocessor(batch, False)['inputs']
    backbone = model.backbone
    if blocks == 1:
        tokens = [backbone.encode(inputs)]
    elif hasattr(backbone, 'encode_last'):
        tokens = backbone.encode_last(inputs, blocks)
    else:
        raise ValueError(f'{type(backbone).__name__} hands out its last block alone; use cls or avg, without a number')
    if tokens[-1].extra.shape[1] == 0 and any(token == 'cls' for terms in parts.values() for token, _ in terms):
        raise ValueError(
            f"feature='cls': {type(backbone).__name__} has no [CLS] token; use 'avg', the mean of its patch tokens"
        )
    read = dict(cls=lambda each: each.extra.mean(1), avg=lambda each: each.patches.mean(1))
    found = {
        kind: torch.cat([read[token](each) for token, number in terms for each in tokens[-number:]], dim=1)
        for kind, terms in parts.items()
    }
    if PROTOTYPE in kinds:
        found[PROTOTYPE] = nearest_prototype(model, tokens[-1])
    return {kind: found[kind] for kind in kinds}


def nearest_prototype(model: BaseModel, tokens: Tokens) -> Tensor:
    """(B, 1) int64. Raises ValueError for a model without prototypes."""
    projector = getattr(getattr(model, 'teacher', None), 'projector', None)
    if projector is None:
        raise ValueError(
            f'{type(model).__name__} has no head of prototypes, as self-distillation trains it; cluster its features '
            f'by k-means'
        )
    return projector.logits(projector(image_feature(tokens))).argmax(1, keepdim=True)


@torch.no_grad()
def raw_pixel_features(inputs: Tensor, size: int = 32) -> Tensor:
    """(B, 3, H, W), normalised -> (B, 3 * h * w): the picture itself, its short side at most ``size`` pixels.

    Reduced by averaging areas; a smaller picture stays as it is.
    """
    shrink = size / min(inputs.shape[-2:])
    if shrink < 1:
        target = [max(1, round(side * shrink)) for side in inputs.shape[-2:]]
        inputs = F.interpolate(inputs, size=target, mode='area')
    return inputs.flatten(1)


def collect_features(
    loader: DataLoader,
    extract: Callable[[dict], Mapping[str, Tensor]],
    description: str = 'features',
    progress: bool = True,
    folders: Mapping[str, Path] | None = None,
) -> dict[str, Features]:
    """Runs ``extract`` (batch -> {name: (B, D)}) over ``loader``; {name: Features}.

    Images that the data set reports as broken (another image stands in their place) are left out. Labels are
    None unless every image has one. With ``folders`` the arrays of a name are written to, and memory-mapped
    from, ``<folder>/features.npy``, so that features larger than the memory can be collected.
    """
    total = len(loader.dataset)
    arrays: dict[str, np.ndarray] = {}
    labels: list[int | None] = []
    paths: list[str] = []
    batches = track(
        loader,
        total=len(loader),
        description=description,
        console=Console(stderr=True),
        disable=not progress,
    )
    for batch in batches:
        samples = batch['data_samples']
        intact = [row for row, sample in enumerate(samples) if not sample.get('broken')]
        rows = slice(len(paths), len(paths) + len(intact))
        for name, values in extract(batch).items():
            if name not in arrays:
                folder = folders[name] if folders else None
                arrays[name] = _allocate(folder, (total, values.shape[1]))
            arrays[name][rows] = values[intact].float().cpu().numpy()
        for row in intact:
            label = samples[row].get('gt_label')
            labels.append(None if label is None else int(label))
            paths.append(str(samples[row].get('img_path')))
    if not paths:
        raise ValueError(f'{description}: not one image could be read')
    labelled = None if None in labels else torch.tensor(labels, dtype=torch.int64)
    return {name: Features(torch.from_numpy(array)[: len(paths)], labelled, paths) for name, array in arrays.items()}


def _allocate(folder: Path | None, shape: tuple[int, int]) -> np.ndarray:
    if folder is None:
        return np.empty(shape, dtype=np.float32)
    return np.lib.format.open_memmap(folder / 'features.npy', mode='w+', dtype=np.float32, shape=shape)
