"""AMT's saliency: maps of whole training images, of which every view gets the piece that it shows."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimselfsup.registry import MODELS
from mimselfsup.structures.host_to_device import to_device

from .map_store import open_maps, unmap_pages
from .teacher import cls_attention, require_attention

NORMALIZATIONS = ('mean_then_minmax', 'minmax_per_head')
MAP_CROPS = ('exact', 'corner')
FLIPS = {None: (False, False), 'vertical': (True, False), 'horizontal': (False, True), 'diagonal': (True, True)}
FLAT = 1e-8


def normalize_maps(attention: Tensor, order: str = 'mean_then_minmax') -> Tensor:
    """(B, heads, N) attention of [CLS] -> (B, N) in [0, 1]. A flat map becomes ones.

    'mean_then_minmax' is the paper's order; 'minmax_per_head' the released code's, where the result spans less
    than [0, 1] and a head that hardly distinguishes patches weighs as much as a peaked one.
    """
    if order not in NORMALIZATIONS:
        raise ValueError(f'normalize={order!r}, must be one of {NORMALIZATIONS}')
    attention = attention.float()
    return _minmax(attention.mean(1)) if order == 'mean_then_minmax' else _minmax(attention).mean(1)


def _minmax(values: Tensor) -> Tensor:
    low, high = values.aminmax(dim=-1, keepdim=True)
    spread = high - low
    scaled = (values - low) / spread.clamp_min(FLAT)
    return torch.where(spread < FLAT, torch.ones_like(values), scaled)


def crop_maps(maps: Tensor, boxes: Tensor, flips: Tensor, grid: tuple[int, int], samples: int = 4) -> Tensor:
    """What the patches of each view see of the map of its image: (B, N), row-major over ``grid``.

    Patch by patch the mean of the map, taken as a bilinear field with the values at the centres of its cells
    and constant beyond the outer ones, at ``samples`` x ``samples`` points. 4 x 4 of them agree to some 2% with
    interpolating the map to the image's size, cropping, resizing and summing up pixels.

    Args:
        maps: (B, h, w), of whole images.
        boxes: (B, 4): top, left, height and width of each crop as shares of its image.
        flips: bool (B, 2): whether the crop was turned upside down, and left to right, afterwards.
    """
    coordinates = []
    for side, axis in zip(grid, (0, 1), strict=True):
        points = (torch.arange(side * samples, device=maps.device) + 0.5) / (side * samples)
        points = torch.where(flips[:, axis, None], 1 - points, points)  # (B, side * samples), within the view
        coordinates.append(boxes[:, axis, None] + points * boxes[:, 2 + axis, None])
    y, x = coordinates
    shape = (len(maps), y.shape[1], x.shape[1])
    places = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1) * 2 - 1
    field = F.grid_sample(maps[:, None], places, mode='bilinear', padding_mode='border', align_corners=False)
    return F.avg_pool2d(field, samples).flatten(1)


@MODELS.register_module()
class AttentionBank:
    """Saliency from stored maps: how [CLS] attended to each part of the whole image at the last refresh.

    The maps lie in one memory-mapped file; the training process reads the rows of its batch, by the
    ``sample_idx`` of the data samples, and cuts the pieces out on the device, by their ``crop_box`` (see
    :class:`~mimselfsup.datasets.transforms.RandomResizedCrop`) and flip. Loader workers never see a map,
    so none of them can hold an old one. ``BankRefreshHook`` makes the maps; until the first ones exist the
    answer is None.

    Source: AMT, "Good helper is around you: Attention-driven Masked Image Modeling", equations 3 to 5.

    Args:
        map_size: (h, w) of a map; must be, and without it is, the backbone's grid for an image of ``image_size``: that
            of the tokens that come out (7 x 7 of Swin, whose attention is the same for all patches of a token).
        image_size: pixels, one number or (H, W), to which images are resized for their map, whatever their aspect.
        normalize: see :func:`normalize_maps`.
        start_epoch: first epoch (from 0) in which maps are used; without it, the one of the first refresh.
        map_crop: 'exact', or 'corner': as in the released code, every view gets the four top left cells of the
            map instead of its piece (a mistake there in 96% of the crops, kept for reproducing it).
        allow_new: if the data set has changed under stored maps, go on with uniform maps for images that have
            none, instead of refusing to.
        samples_per_patch: points per patch and axis at which a map is read.
    """

    def __init__(
        self,
        map_size: tuple[int, int] | None = None,
        image_size: int | tuple[int, int] = 224,
        normalize: str = 'mean_then_minmax',
        start_epoch: int | None = None,
        map_crop: str = 'exact',
        allow_new: bool = False,
        samples_per_patch: int = 4,
    ) -> None:
        for name, value, allowed in (
            ('normalize', normalize, NORMALIZATIONS),
            ('map_crop', map_crop, MAP_CROPS),
        ):
            if value not in allowed:
                raise ValueError(f'AttentionBank: {name}={value!r}, must be one of {allowed}')
        if samples_per_patch < 1:
            raise ValueError(f'AttentionBank: samples_per_patch={samples_per_patch}, must be at least 1')
        if start_epoch is not None and start_epoch < 0:
            raise ValueError(f'AttentionBank: start_epoch={start_epoch}, must be at least 0, or None')
        self.map_size = None if map_size is None else tuple(map_size)
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.normalize = normalize
        self.start_epoch = start_epoch
        self.map_crop = map_crop
        self.allow_new = allow_new
        self.samples_per_patch = samples_per_patch
        self.epoch = 0
        self.refreshed = False
        self._file: tuple[Path, tuple[int, int, int]] | None = None
        self._maps: np.memmap | None = None

    def bind(self, backbone: nn.Module) -> None:
        """Checks that ``backbone`` can give the maps. Raises ValueError if it cannot."""
        require_attention('AttentionBank', backbone)
        try:
            grid = tuple(side // _cells(backbone) for side in backbone.token_grid(self.image_size))
        except ValueError as error:
            raise ValueError(f'AttentionBank: image_size={self.image_size} does not fit: {error}') from error
        if self.map_size not in (None, grid):
            raise ValueError(
                f'AttentionBank: map_size={self.map_size}, but for image_size={self.image_size} the backbone has '
                f'a grid of {grid}: set that, or leave map_size out'
            )
        self.map_size = grid

    @property
    def settings(self) -> dict:
        """What the values of the maps depend on besides the weights and the images."""
        return dict(image_size=list(self.image_size), normalize=self.normalize)

    def compute(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """The maps (B, h, w) that would be stored for whole ``images`` (B, 3, H, W), normalised pixels."""
        grid = backbone.token_grid(images.shape[-2:])
        maps = normalize_maps(cls_attention(backbone, images), self.normalize).unflatten(1, grid)
        return F.avg_pool2d(maps, _cells(backbone))

    def attach(self) -> None:
        """Called by the hook that refreshes the bank, so that a bank without one is noticed."""
        self.refreshed = True

    def open(self, path: Path, shape: tuple[int, int, int]) -> None:
        """Reads maps from ``path`` from now on."""
        self._maps = open_maps(path, shape)
        self._file = (path, shape)

    def close(self) -> None:
        self._file = self._maps = None

    @property
    def path(self) -> Path | None:
        return None if self._file is None else self._file[0]

    def __call__(self, images: Tensor, data_samples: list | None, grid: tuple[int, int]) -> Tensor | None:
        """(B, N) for a batch of views; None before there are maps, and where no data samples say which images
        these are. Raises ValueError if they lack what is needed.
        """
        if data_samples is None:
            return None
        if not self.refreshed:
            raise ValueError(
                "AttentionBank: nothing fills it; add dict(type='BankRefreshHook', interval=40) to custom_hooks"
            )
        if self._file is None or (self.start_epoch is not None and self.epoch < self.start_epoch):
            return None
        indices, boxes, flips = views_of(data_samples)
        maps = self.read(indices)
        if self.map_crop == 'corner':
            maps = maps[:, :2, :2]
            boxes = boxes.new_tensor([0, 0, 1, 1]).expand_as(boxes)
        maps, boxes, flips = (to_device(each, images.device) for each in (maps, boxes, flips))
        return crop_maps(maps.float(), boxes, flips, grid, self.samples_per_patch)

    def read(self, indices: np.ndarray) -> Tensor:
        """Stored maps (len(indices), h, w), float16, of the images with these indices."""
        path, shape = self._file
        if self._maps is None:  # after a copy or a pickle
            self._maps = open_maps(path, shape)
        if len(indices) and not 0 <= indices.min() <= indices.max() < shape[0]:
            raise ValueError(f'AttentionBank: sample_idx runs to {indices.max()}, but {path} holds {shape[0]} maps')
        rows = torch.from_numpy(np.asarray(self._maps[indices]))
        unmap_pages(self._maps)
        return rows

    def __getstate__(self) -> dict:
        # A mapping would be copied into memory as a whole.
        return {**self.__dict__, '_maps': None}


def _cells(backbone: nn.Module) -> int:
    """Patches per side of a token of the last block: more than 1 in a hierarchy."""
    return backbone.out_stride[0] // backbone.patch_size[0]


def views_of(data_samples: list) -> tuple[np.ndarray, Tensor, Tensor]:
    """Of each view: index of its image (B,), crop as shares of the image (B, 4), and flips, bool (B, 2)."""
    indices, boxes, flips = [], [], []
    for sample in data_samples:
        index, box, source = (sample.get(key) for key in ('sample_idx', 'crop_box', 'crop_source'))
        if index is None or box is None or source is None:
            raise ValueError(
                'AttentionBank: a data sample lacks sample_idx, crop_box or crop_source. The pipeline must crop '
                "by dict(type='mimselfsup.RandomResizedCrop', ...) and end in PackInputs with meta_keys "
                '(mimselfsup.datasets.transforms.CROP_META_KEYS)'
            )
        (top, left, height, width), (rows, columns) = box, source
        indices.append(int(index))
        boxes.append((top / rows, left / columns, height / rows, width / columns))
        flips.append(FLIPS[sample.get('flip_direction') if sample.get('flip') else None])
    return np.array(indices, dtype=np.int64), torch.tensor(boxes), torch.tensor(flips)
