"""Swin, aware of masks as far as a hierarchy of windows can be."""

import torch
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from .tokens import Tokens
from .window_attention import WindowAttention


@MODELS.register_module()
class MaskedSwin(SwinTransformer):
    """mmpretrain's ``SwinTransformer`` with a mask token in place of hidden patches (SimMIM).

    The grid that is masked is that of the patch embedding (4 px), the tokens that come out are those of the last
    stage (32 px). Windows need every token in its place: masked tokens are replaced, never dropped, and throwing
    is refused. Local views are welcome: see :class:`~.window_attention.WindowAttention`; otherwise it is mmpretrain's
    network at every size.

    There is no [CLS] token. What stands in for its attention is the attention that each token of the last block
    receives; see :meth:`encode`.

    Args:
        drop_path_rate: 0 by default, as in SimMIM's pre-training (the parent has 0.1).
        with_mask_token: False for downstream tasks, which have no use for it: distributed training stops at a parameter
            without a gradient.
        kwargs: the parent's.
    """

    gives_attention = True

    def __init__(
        self, arch: str | dict = 'tiny', *, drop_path_rate: float = 0.0, with_mask_token: bool = True, **kwargs
    ) -> None:
        super().__init__(arch, drop_path_rate=drop_path_rate, **kwargs)
        self.patch_size = self.patch_embed.projection.kernel_size
        self.out_stride = tuple(side * 2 ** (self.num_layers - 1) for side in self.patch_size)
        self.out_channels = self.num_features[-1]
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if with_mask_token else None
        for stage in self.stages:
            for block in stage.blocks:
                # The parent builds its own class and lets nobody say which; ours adds methods alone, no state.
                block.attn.__class__ = WindowAttention

    def init_weights(self) -> None:
        super().init_weights()
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            return
        if self.mask_token is not None:
            trunc_normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def train(self, mode: bool = True):
        super().train(mode)  # the parent's returns None, which breaks model.eval().encode(...)
        return self

    def token_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) patch tokens (4 px) of an image of (H, W) pixels; the sides must be multiples of 32."""
        if any(side % stride for side, stride in zip(image_size, self.out_stride, strict=True)):
            raise ValueError(
                f'MaskedSwin: images of {image_size[0]} x {image_size[1]} pixels, sides must be multiples of '
                f'{self.out_stride[0]}'
            )
        return image_size[0] // self.patch_size[0], image_size[1] // self.patch_size[1]

    def encode(self, images: Tensor, token_mask: TokenMask | None = None, cls_attention: bool = False) -> Tokens:
        """``images`` (B, 3, H, W); the mask is that of :meth:`token_grid`. Tokens of the last stage, normed.

        With ``cls_attention`` also (B, heads, N) for the grid that is masked, in float32: the attention that each
        token of the last block receives, the mean over all tokens as queries, divided evenly among the patches
        (8 x 8 of 4 px) of a token. At 224 px, one window, a row adds up to 1; less what goes to padding elsewhere. It
        costs the block's queries and keys a second time; the tokens are the same.
        """
        masked_grid = self.token_grid(images.shape[-2:])
        tokens, size = self.patch_embed(images)
        if token_mask is not None:
            if not token_mask.throws_nothing:
                raise ValueError('MaskedSwin: tokens cannot be thrown, windows need all of them; use a MaskedViT')
            if token_mask.masked.shape != tokens.shape[:2]:
                raise ValueError(
                    f'MaskedSwin: the mask is {tuple(token_mask.masked.shape)}, expected '
                    f'{tuple(tokens.shape[:2])}: the grid of 4 px patches is {masked_grid}'
                )
            if self.mask_token is None:
                raise ValueError('MaskedSwin: with_mask_token=False leaves nothing to put in place of masked patches')
            tokens = torch.where(token_mask.masked.unsqueeze(-1), self.mask_token.to(tokens.dtype), tokens)
        if self.use_abs_pos_embed:
            tokens = tokens + resize_pos_embed(
                self.absolute_pos_embed, self.patch_resolution, size, self.interpolate_mode, 0
            )
        tokens = self.drop_after_pos(tokens)
        for stage in self.stages[:-1]:
            tokens, size = stage(tokens, size)
        *blocks, last = self.stages[-1].blocks
        for block in blocks:
            tokens = block(tokens, size)
        received = None
        if cls_attention:
            with torch.no_grad():
                received = self._spread(last.attn.received(last.norm1(tokens), size), size)
        tokens = last(tokens, size)
        tokens = getattr(self, f'norm{self.num_layers - 1}')(tokens)
        return Tokens(tokens[:, :0], tokens, tuple(size), received)

    def _spread(self, saliency: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, heads, tokens of the last stage) -> (B, heads, N): each divided evenly among its patches."""
        rows, columns = (out // patch for out, patch in zip(self.out_stride, self.patch_size, strict=True))
        maps = (saliency / (rows * columns)).unflatten(2, tuple(size))
        return maps.repeat_interleave(rows, 2).repeat_interleave(columns, 3).flatten(2)
