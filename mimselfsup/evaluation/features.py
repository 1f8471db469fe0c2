"""From images to one vector per image."""

from collections.abc import Callable, Mapping
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

FEATURES = ('cls', 'avg')

Extractor = Callable[[dict], Tensor]


@dataclass(frozen=True)
class Features:
    """``features`` (n, D) float32, ``labels`` (n,) int64 or None, ``paths`` of the n images; on the CPU."""

    features: Tensor
    labels: Tensor | None
    paths: list[str]


def encoder_features(model: BaseModel, feature: str) -> Extractor:
    """A function from a collated batch to the backbone's (B, D), after its final norm.

    'cls': the [CLS] token, or the mean of them where there are several (SemanticMIM's proxies); 'avg': the mean of
    the patch tokens. The model should be in eval mode.
    """
    return lambda batch: encode_features(model, batch, (feature,))[feature]


@torch.no_grad()
def encode_features(model: BaseModel, batch: dict, kinds: tuple[str, ...]) -> dict[str, Tensor]:
    """Several kinds of feature from one pass through the backbone."""
    for kind in kinds:
        if kind not in FEATURES:
            raise ValueError(f'feature={kind!r}, must be one of {FEATURES}')
    inputs = model.data_preprocessor(batch, False)['inputs']
    tokens = model.backbone.encode(inputs)
    if 'cls' in kinds and tokens.extra.shape[1] == 0:
        raise ValueError(
            f"feature='cls': {type(model.backbone).__name__} has no [CLS] token; use 'avg', the mean of its "
            f'patch tokens'
        )
    read = dict(cls=lambda: tokens.extra.mean(1), avg=lambda: tokens.patches.mean(1))
    return {kind: read[kind]() for kind in kinds}


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
