"""Features of pictures, without a config."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.models.utils import SelfSupDataPreprocessor
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mimselfsup.evaluation.data import build_eval_loader, eval_pipeline
from mimselfsup.evaluation.features import Features, collect_features, encode_features, parse_feature
from mimselfsup.interchange import convert
from mimselfsup.interchange.convert import IMAGENET_MEAN, IMAGENET_STD
from mimselfsup.registry import DATASETS

from .model import to_device


class FeatureExtractor:
    """One vector per picture, from a frozen backbone.

    Pictures are seen as in evaluation: short side to 256/224 of the image size (bicubic), centre crop.

    Args:
        model: a checkpoint of any family that :func:`mimselfsup.apis.load` reads, or a backbone, from there or
            of a ``load_model``.
        feature: 'cls', the [CLS] token, or 'avg', the mean of the patch tokens, by default the first of them that the
            backbone has; or 'cls4', 'cls+avg', ... as ``mimselfsup.evaluation.features.parse_feature`` says. After the
            final norm; 'avg' after the norm of the mean where the backbone has one (as after fine-tuning).
        image_size: side in pixels; by default the backbone's.
        mean, std: of RGB pixels, 0 to 255; by default the checkpoint's, ImageNet's where nothing says so.
        device: the backbone is moved there.
        batch_size: images per forward pass.
        workers: processes that read files.
        progress: shows a bar, of files.
        settings: further arguments of ``load``: network, source, num_heads, trusted.

    Raises ValueError if the backbone lacks the feature.
    """

    def __init__(
        self,
        model: str | os.PathLike | nn.Module,
        feature: str | None = None,
        *,
        image_size: int | tuple[int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: torch.device | str = 'cpu',
        batch_size: int = 64,
        workers: int = 2,
        progress: bool = False,
        **settings: Any,
    ) -> None:
        statistics = IMAGENET_MEAN, IMAGENET_STD
        if isinstance(model, nn.Module):
            if settings:
                raise ValueError(f'FeatureExtractor: {", ".join(settings)} are for checkpoints, not for a backbone')
            backbone = model
        else:
            found = convert(model, **settings)
            backbone, statistics = found.backbone, (found.pixel_mean, found.pixel_std)
            image_size = image_size or found.config.get('img_size')
        if feature is None:
            feature = 'cls' if getattr(backbone, 'with_cls_token', False) else 'avg'
        parse_feature(feature)
        size = image_size or getattr(backbone, 'img_size', 224)
        self.feature, self.batch_size, self.workers, self.progress = feature, batch_size, workers, progress
        self.device = to_device(device)
        self._model = _Frozen(backbone, mean or statistics[0], std or statistics[1]).to(self.device)
        self._pipeline = eval_pipeline(Config(dict(model=dict(backbone=dict(img_size=size)))))

    def __call__(self, pictures: np.ndarray | Sequence[np.ndarray]) -> Tensor:
        """(n, D), float32, on the CPU.

        ``pictures``: n arrays (H, W, 3), uint8, RGB, of any sizes; an array (n, H, W, 3), or of one picture.
        """
        if isinstance(pictures, np.ndarray) and pictures.ndim == 3:
            pictures = [pictures]
        for place, picture in enumerate(pictures):
            array = np.asarray(picture)
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
                raise ValueError(
                    f'FeatureExtractor: picture {place} is {array.dtype} {array.shape}, must be uint8 (H, W, 3), RGB; '
                    f'for files call of_files or of_folder'
                )
        if not len(pictures):
            raise ValueError('FeatureExtractor: there are no pictures')
        with DefaultScope.overwrite_default_scope('mimselfsup'):
            pipeline = Compose(self._pipeline[1:])  # without reading
        rows = []
        for start in range(0, len(pictures), self.batch_size):
            views = [pipeline(_read(picture)) for picture in pictures[start : start + self.batch_size]]
            rows.append(self._features(default_collate(views))[self.feature].float().cpu())
        return torch.cat(rows)

    def of_files(self, paths: Sequence[str | os.PathLike]) -> Features:
        """In the order of ``paths``. Raises ValueError for a file that is no whole picture."""
        with DefaultScope.overwrite_default_scope('mimselfsup'):
            dataset = _Files([os.fspath(path) for path in paths], Compose(self._pipeline))
        return self._collected(build_eval_loader(dataset, self.batch_size, self.workers))

    def of_folder(self, folder: str | Path) -> Features:
        """Of all images below ``folder``, or that a text list names, by sorted paths.

        ``labels`` number the first level of folders, if all images lie in such. Broken images are left out;
        ``paths`` says which are in.
        """
        settings = dict(type='mimselfsup.ImageFolder', data_root=str(folder), with_label='if_any', test_mode=True)
        with DefaultScope.overwrite_default_scope('mimselfsup'):
            dataset = DATASETS.build(dict(settings, pipeline=self._pipeline))
        return self._collected(build_eval_loader(dataset, self.batch_size, self.workers))

    def _collected(self, loader: DataLoader) -> Features:
        return collect_features(loader, self._features, progress=self.progress)[self.feature]

    def _features(self, batch: dict) -> dict[str, Tensor]:
        with torch.no_grad():
            found = encode_features(self._model, batch, (self.feature,))
            pooled_norm = getattr(self._model.backbone, 'ln2', None)
            if self.feature == 'avg' and pooled_norm is not None:
                found['avg'] = pooled_norm(found['avg'])
        return found


class _Frozen(BaseModel):
    """As much of an algorithm as features need."""

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(SelfSupDataPreprocessor(mean=list(mean), std=list(std), to_rgb=True))
        self.backbone = backbone
        self.eval()

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> Any:
        return self.backbone(inputs)


class _Files(Dataset):
    def __init__(self, paths: list[str], pipeline: Compose) -> None:
        if not paths:
            raise ValueError('FeatureExtractor: there are no files')
        self.paths, self.pipeline = paths, pipeline

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(dict(img_path=self.paths[index], sample_idx=index))


def _read(picture: np.ndarray) -> dict[str, Any]:
    """What LoadImage would have given."""
    image = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], img_path='', sample_idx=0)
