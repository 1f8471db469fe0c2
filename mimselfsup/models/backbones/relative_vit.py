"""A vision transformer of which every block has relative positions of its own: BEiT after fine-tuning."""

import torch
from mmpretrain.models.backbones import BEiTViT
from torch import Tensor

from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from .tokens import Tokens


@MODELS.register_module()
class RelativeViT(BEiTViT):
    """mmpretrain's ``BEiTViT`` (same state dict), which can also hand out its tokens.

    For frozen features of published checkpoints; pre-training has one table for all blocks, which is
    ``MaskedViT(position='shared_relative')``. The tables fit one image size: ``img_size``.
    """

    gives_attention = False

    def __init__(self, arch: str | dict = 'base', **kwargs) -> None:
        super().__init__(arch, **kwargs)
        self.patch_size = self.out_stride = self.patch_embed.projection.kernel_size
        self.out_channels = self.embed_dims

    def train(self, mode: bool = True):
        super().train(mode)  # the parent's returns None, which breaks model.eval().encode(...)
        return self

    def token_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) patch tokens of an image of (H, W) pixels, which must be ``img_size``."""
        if tuple(image_size) != tuple(self.img_size):
            raise ValueError(
                f'RelativeViT: images of {image_size[0]} x {image_size[1]} pixels, its relative positions are for '
                f'{self.img_size[0]} x {self.img_size[1]}'
            )
        return tuple(self.patch_resolution)

    def encode(self, images: Tensor, token_mask: TokenMask | None = None, cls_attention: bool = False) -> Tokens:
        """Tokens of (B, 3, H, W) after the final norm, if there is one. Raises ValueError for a mask, and if attention
        is asked for."""
        if token_mask is not None or cls_attention:
            raise ValueError('RelativeViT: only for features of whole images; for masks and attention use a MaskedViT')
        grid = self.token_grid(images.shape[-2:])
        tokens = self.patch_embed(images)[0]
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + self.pos_embed
        tokens = self.drop_after_pos(tokens)
        shared = None if self.rel_pos_bias is None else self.rel_pos_bias()
        for layer in self.layers:
            tokens = layer(tokens, shared)
        if self.final_norm:
            tokens = self.ln1(tokens)
        return Tokens(tokens[:, : self.num_extra_tokens], tokens[:, self.num_extra_tokens :], grid)
