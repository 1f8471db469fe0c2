"""ResNet with the contract of the mask-aware backbones, as far as a convolutional network can keep it."""

import math

from mmpretrain.models.backbones import ResNet
from torch import Tensor

from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from .tokens import Tokens


@MODELS.register_module()
class TokenResNet(ResNet):
    """mmpretrain's ``ResNet`` (same state dict), whose last map is handed out as patch tokens.

    It serves plain DINO: there is no [CLS] token (the mean of the tokens is the image feature, as after global
    average pooling), nothing can be masked and there is no attention. With ``zero_init_residual=False`` it starts as
    torchvision's, which DINO trained.

    Raises ValueError if ``out_indices`` lacks the last stage.
    """

    gives_attention = False

    def __init__(self, depth: int = 50, **kwargs) -> None:
        super().__init__(depth, **kwargs)
        if self.num_stages - 1 not in self.out_indices:
            raise ValueError(
                f'TokenResNet: out_indices={tuple(self.out_indices)}, must contain {self.num_stages - 1}: the last '
                f'stage gives the tokens'
            )
        self.out_channels = self.feat_dim
        stride = 4 * math.prod(self.strides)  # 4: of the stem
        self.patch_size = self.out_stride = (stride, stride)

    def train(self, mode: bool = True):
        super().train(mode)  # the parent's returns None, which breaks model.eval().encode(...)
        return self

    def token_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the last map for images of (H, W) pixels, of any size: every stride rounds up."""
        return tuple(math.ceil(side / stride) for side, stride in zip(image_size, self.out_stride, strict=True))

    def encode(self, images: Tensor, token_mask: TokenMask | None = None, cls_attention: bool = False) -> Tokens:
        """``images`` (B, 3, H, W). Raises ValueError for a mask, and if attention is asked for."""
        if token_mask is not None:
            raise ValueError('TokenResNet: convolutions cannot leave patches out; train it without a masking')
        if cls_attention:
            raise ValueError('TokenResNet has no attention; use a MaskedViT or a MaskedSwin')
        features = self(images)[-1]
        patches = features.flatten(2).transpose(1, 2)
        return Tokens(patches[:, :0], patches, tuple(features.shape[-2:]))
