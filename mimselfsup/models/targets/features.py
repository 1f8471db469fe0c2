"""Features of another network as what is to be predicted."""

import os

import torch
import torch.nn.functional as F
from torch import Tensor

from mimselfsup.registry import MODELS

from .base import BaseTarget
from .frozen import FrozenNetwork

NORMALIZATIONS = ('l2', 'layer_norm', None)


@MODELS.register_module()
class FeatureTarget(BaseTarget):
    """The patch tokens that a frozen encoder gives the whole image, after its final norm.

    It sees images as the student's preprocessor normalises them, in the precision of the run. Its grid must be that of
    the student; one with other patches needs a second view of another size: see ``TwoSizeCrop``.

    Args:
        backbone: the encoder, a MaskedViT or whatever else has its ``encode``.
        checkpoint: file with its weights: of the backbone itself, or of an algorithm that has it as
            ``teacher.backbone`` or ``backbone``.
        normalize: what is done to each token: 'l2', divided by its norm; 'layer_norm', standardised; None.
        allow_random: do without a file, for tests.
    """

    def __init__(
        self,
        patch_size: tuple[int, int],
        backbone: dict,
        checkpoint: str | os.PathLike | None = None,
        normalize: str | None = 'l2',
        allow_random: bool = False,
    ) -> None:
        super().__init__(patch_size)
        if normalize not in NORMALIZATIONS:
            raise ValueError(f'FeatureTarget: normalize={normalize!r}, must be one of {NORMALIZATIONS}')
        self.normalize = normalize
        network = MODELS.build(backbone)
        network.not_needed = ('mask_token',)  # of a file that pre-training left
        prefixes = ('teacher.backbone.', 'backbone.', '')
        self.frozen = FrozenNetwork(network, 'FeatureTarget', checkpoint, allow_random, prefixes)
        self.out_channels = network.out_channels

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> (B, N, D)."""
        features = self.frozen.network.encode(images).patches
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        if self.normalize == 'l2':
            return F.normalize(features, dim=-1)
        return F.layer_norm(features, features.shape[-1:]) if self.normalize else features
