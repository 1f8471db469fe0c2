"""From the one map of a plain backbone to the levels that a detector wants."""

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mimselfsup.registry import MODELS


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Four levels from the last map alone, and a fifth by taking every second place of the fourth (ViTDet).

    Of a map of stride 16: strides 4 and 8 by transposed convolutions, 16 as it is, 32 by max-pooling, each then
    projected (1 x 1) and smoothed (3 x 3) with a norm after either and no activation. As detectron2's
    ``SimpleFeaturePyramid`` with ``LastLevelMaxPool``.

    Args:
        num_outs: 4, or 5 for the level of stride 64, which RPN wants.
        norm_cfg: of the whole map's channels at each place by default (LN of detectron2).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = 5,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_outs not in (4, 5):
            raise ValueError(f'SimpleFeaturePyramid: num_outs={num_outs}, must be 4 or 5')
        if in_channels % 4:
            raise ValueError(f'SimpleFeaturePyramid: in_channels={in_channels}, must be a multiple of 4')
        norm_cfg = norm_cfg or dict(type='mmpretrain.LN2d', eps=1e-6)
        self.num_outs = num_outs

        def norm(channels: int) -> nn.Module:
            return build_norm_layer(norm_cfg, channels)[1]

        half, quarter = in_channels // 2, in_channels // 4
        fourfold = [
            nn.ConvTranspose2d(in_channels, half, 2, 2),
            norm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
        ]
        twofold = [nn.ConvTranspose2d(in_channels, half, 2, 2)]
        self.levels = nn.ModuleList(
            nn.Sequential(
                *rescale,
                nn.Conv2d(channels, out_channels, 1, bias=False),
                norm(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                norm(out_channels),
            )
            for rescale, channels in (
                (fourfold, quarter),
                (twofold, half),
                ([], in_channels),
                ([nn.MaxPool2d(2, 2)], in_channels),
            )
        )

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The last of ``inputs``, (B, C, h, w) -> ``num_outs`` maps, the finest first."""
        last = inputs if isinstance(inputs, Tensor) else inputs[-1]
        outputs = [level(last) for level in self.levels]
        if self.num_outs == 5:
            outputs.append(F.max_pool2d(outputs[-1], 1, stride=2))
        return tuple(outputs)
