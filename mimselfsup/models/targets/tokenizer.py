"""Codes of an image tokenizer as what is to be predicted (BEiT)."""

import os

import torch
from torch import Tensor

from mimselfsup.models.tokenizers import code_perplexity
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenSubset

from .base import BaseTarget
from .frozen import FrozenNetwork


@MODELS.register_module()
class TokenTarget(BaseTarget):
    """The code that a frozen tokenizer gives each patch, one of ``out_channels`` classes.

    A tokenizer has ``num_codes``, ``codes(pixels)``, from RGB in 0..255, (B, 3, H, W), to (B, h, w) int64, and
    ``decode(codes)`` if it can be looked at. It gets pixels, from which the normalisation for the encoder has been
    undone, and does its own. Outside autocast.

    Where its codes stand for other pixels than a patch, DALL-E's for 8 x 8, the pipeline has to give a second view of
    that size: see ``TwoSizeCrop``.

    Args:
        tokenizer: DALLETokenizer, VQKDTokenizer, VQTokenizer.
        checkpoint: file with its weights; for a VQTokenizer the checkpoint of its training will do.
        allow_random: do without a file, for tests.
    """

    def __init__(
        self,
        patch_size: tuple[int, int],
        tokenizer: dict,
        checkpoint: str | os.PathLike | None = None,
        allow_random: bool = False,
    ) -> None:
        super().__init__(patch_size)
        network = MODELS.build(tokenizer)
        self.frozen = FrozenNetwork(network, 'TokenTarget', checkpoint, allow_random, ('tokenizer.', ''))
        self.out_channels = network.num_codes

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> (B, N) int64."""
        pixels = self.raw_pixels(images.to(torch.promote_types(images.dtype, torch.float32)))
        with torch.autocast(images.device.type, enabled=False):
            return self.frozen.network.codes(pixels).flatten(1)

    def fill_in(self, target: Tensor, predicted: Tensor, masked: TokenSubset) -> Tensor:
        """``predicted`` are logits (B, M, K), of which the largest counts."""
        return super().fill_in(target.unsqueeze(2), predicted.argmax(-1, keepdim=True), masked).squeeze(2)

    def to_pixels(self, target: Tensor, images: Tensor) -> Tensor:
        tokenizer = self.frozen.network
        if not hasattr(tokenizer, 'decode'):
            raise ValueError(f'TokenTarget: {type(tokenizer).__name__} has no decoder, its codes cannot be shown')
        grid = images.shape[-2] // self.patch_size[0], images.shape[-1] // self.patch_size[1]
        return self.normalised(tokenizer.decode(target.unflatten(1, grid))).to(images.dtype)

    def statistics(self, target: Tensor) -> dict[str, Tensor]:
        """``code_perplexity``: how many codes are in use, in effect. If few are, a low loss is no achievement."""
        return dict(code_perplexity=code_perplexity(target, self.out_channels))
