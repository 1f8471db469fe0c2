"""MST's global image decoder: convolutions that restore a whole view from its tokens."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mimselfsup.models.backbones.tokens import Tokens
from mimselfsup.registry import MODELS

NORMS = ('BN', 'SyncBN')


@MODELS.register_module()
class ConvDecoder(BaseModule):
    """From the patch tokens as a map, [CLS] left out, to the pixels of the whole view.

    floor(log2(stride)) stages of [3x3 convolution, BN, ReLU, bilinear upsampling by 2], then a 1x1 convolution to
    the three channels. Steps of 2 avoid artefacts, hence 4 stages for patches of 16 px and 5 for Swin's 32 px;
    where the stride is no power of two, one bilinear resize makes up for the rest.

    Args:
        in_channels, stride: ``out_channels`` and ``out_stride`` of the backbone, by the algorithm.
        channels: width of the stages. The paper gives none; with 256 there are 2.7 M parameters for 384 channels in.
        norm: 'SyncBN' (the paper's), or 'BN': statistics of each process by itself.

    Source: MST, arXiv 2106.05656, section 3.3.
    """

    reads = 'replace'  # of MaskedViT(hidden=...): it needs a token for every patch

    def __init__(self, in_channels: int, stride: int, channels: int = 256, norm: str = 'SyncBN') -> None:
        super().__init__()
        if stride < 2:
            raise ValueError(f'ConvDecoder: stride={stride}, must be at least 2; it is the pixels per token and axis')
        if channels < 1:
            raise ValueError(f'ConvDecoder: channels={channels}, must be at least 1')
        if norm not in NORMS:
            raise ValueError(f'ConvDecoder: norm={norm!r}, must be one of {NORMS}')
        self.stride = stride
        widths = [in_channels] + [channels] * (stride.bit_length() - 1)
        self.stages = nn.ModuleList(
            ConvModule(before, after, 3, padding=1, norm_cfg=dict(type=norm)) for before, after in pairwise(widths)
        )
        self.to_pixels = nn.Conv2d(channels, 3, 1)

    def forward(self, tokens: Tokens, views: int = 1) -> Tensor:
        """-> (B, 3, H, W), in the normalised pixels that were encoded; H and W are ``stride`` times the grid.

        The rows are ``views`` batches of different images, one view after the other. In training each of them is
        normalised, and counted in the running statistics, by itself, so that no statistic sees an image twice.
        Raises ValueError if there is not a token for every patch, or if the rows are no ``views`` equal batches.
        """
        rows, count = tokens.patches.shape[:2]
        height, width = tokens.grid
        if count != height * width:
            raise ValueError(
                f'ConvDecoder: {count} tokens for a grid of {height} x {width}; it restores from all of them, so the '
                f"backbone must replace masked patches (hidden='replace') and none may be thrown"
            )
        if views < 1 or rows % views:
            raise ValueError(f'ConvDecoder: {rows} rows cannot be {views} views of as many images each')
        maps = tokens.patches.transpose(1, 2).unflatten(2, (height, width))
        return torch.cat([self._restore(view) for view in maps.chunk(views)])

    def _restore(self, maps: Tensor) -> Tensor:
        size = [side * self.stride for side in maps.shape[-2:]]
        for depth, stage in enumerate(self.stages):
            maps = stage(_twice(maps) if depth else maps)
        # The 1x1 convolution and interpolation commute (weights of the latter add up to 1). In this order the
        # largest maps have 3 channels instead of 256.
        pixels = _twice(self.to_pixels(maps))
        if list(pixels.shape[-2:]) != size:
            pixels = F.interpolate(pixels, size=size, mode='bilinear', align_corners=False)
        return pixels


def _twice(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode='bilinear', align_corners=False)
