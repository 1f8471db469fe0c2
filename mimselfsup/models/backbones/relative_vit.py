"""A vision transformer of which every block has relative positions of its own: BEiT after fine-tuning."""

import math

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import BEiTViT
from mmpretrain.models.backbones.beit import BEiTTransformerEncoderLayer
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.models.utils.attention import BEiTAttention
from torch import Tensor

from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from .masked_vit import relative_bias
from .positions import resize_relative_table_as_beit
from .tokens import Tokens


class RelativeAttention(BEiTAttention):
    """mmpretrain's, fused. All of its bias, (1, heads, T, T) or None, comes from outside, its own table's too."""

    def forward(self, x: Tensor, rel_pos_bias: Tensor | None = None) -> Tensor:
        bias = self.qkv.bias
        if self.bias == 'qv_bias':
            bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(2, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, d)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if rel_pos_bias is None else rel_pos_bias.to(query.dtype),
            dropout_p=self.attn_drop.p if self.training else 0.0,
            scale=self.scale,
        )
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))


@MODELS.register_module()
class RelativeViT(BEiTViT):
    """mmpretrain's ``BEiTViT`` (same state dict), which can also hand out its tokens, at any size.

    For fine-tuning after BEiT, and for frozen features of published checkpoints; pre-training has one table for all
    blocks, which is ``MaskedViT(position='shared_relative')``. Loading takes such a checkpoint as well: every block
    gets a copy of the table, and of the biases of queries, keys and values that of the keys, which moves no softmax, is
    left out. A table of another grid is resized as in BEiT's code, for ``img_size``; images of other sizes than that
    get tables resized by cubic interpolation, as a MaskedViT's are.
    """

    gives_attention = False

    def __init__(self, arch: str | dict = 'base', **kwargs) -> None:
        super().__init__(arch, **kwargs)
        self.patch_size = self.out_stride = self.patch_embed.projection.kernel_size
        self.out_channels = self.embed_dims
        for layer in self.layers:
            # The parent builds its own class and lets nobody say which; ours adds no state.
            layer.attn.__class__ = RelativeAttention

    def train(self, mode: bool = True):
        super().train(mode)  # the parent's returns None, which breaks model.eval().encode(...)
        return self

    def token_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) patch tokens of an image of (H, W) pixels. Raises ValueError if patches do not tile it."""
        (height, width), (patch_h, patch_w) = image_size, self.patch_size
        if height % patch_h or width % patch_w:
            raise ValueError(
                f'RelativeViT: images of {height} x {width} pixels are no whole number of patches of '
                f'{patch_h} x {patch_w}'
            )
        return height // patch_h, width // patch_w

    def encode(self, images: Tensor, token_mask: TokenMask | None = None, cls_attention: bool = False) -> Tokens:
        """Tokens of (B, 3, H, W) after the final norm, if there is one. Raises ValueError for a mask, and if attention
        is asked for."""
        if token_mask is not None or cls_attention:
            raise ValueError('RelativeViT: only for features of whole images; for masks and attention use a MaskedViT')
        self.token_grid(images.shape[-2:])  # refuses what the patches do not tile
        tokens, grid = self._enter(images)
        for layer in self.layers:
            tokens = layer(tokens, self._bias(layer, grid))
        if self.final_norm:
            tokens = self.ln1(tokens)
        return Tokens(tokens[:, : self.num_extra_tokens], tokens[:, self.num_extra_tokens :], grid)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        tokens, grid = self._enter(images)
        outputs = []
        for depth, layer in enumerate(self.layers):
            tokens = layer(tokens, self._bias(layer, grid))
            if depth == len(self.layers) - 1 and self.final_norm:
                tokens = self.ln1(tokens)
            if depth in self.out_indices:
                outputs.append(self._format_output(tokens, grid))
        return tuple(outputs)

    def _enter(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """What the first block sees, (B, E + N, D), and its grid."""
        tokens, grid = self.patch_embed(images)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + resize_pos_embed(
                self.pos_embed, self.patch_resolution, grid, self.interpolate_mode, self.num_extra_tokens
            )
        return self.drop_after_pos(tokens), tuple(grid)

    def _bias(self, layer: BEiTTransformerEncoderLayer, grid: tuple[int, int]) -> Tensor | None:
        table = layer.attn if layer.attn.use_rel_pos_bias else self.rel_pos_bias
        return None if table is None else relative_bias(table, grid).unsqueeze(0)

    def _prepare_relative_position_bias_table(self, state_dict: dict, prefix: str, *args) -> None:
        """Makes ``state_dict`` one of this network, where it is a MaskedViT's or for another size; before loading."""
        table, index = 'relative_position_bias_table', 'relative_position_index'
        if self.use_rel_pos_bias:
            shared = state_dict.pop(f'{prefix}rel_pos_bias.{table}', None)
            state_dict.pop(f'{prefix}rel_pos_bias.{index}', None)
            if shared is not None:
                state_dict.update({f'{prefix}layers.{i}.attn.{table}': shared for i in range(self.num_layers)})
        for i, layer in enumerate(self.layers):
            block = f'{prefix}layers.{i}.'
            bias = state_dict.pop(f'{block}attn.qkv.bias', None) if layer.attn.bias == 'qv_bias' else None
            if bias is not None:
                state_dict[f'{block}attn.q_bias'], _, state_dict[f'{block}attn.v_bias'] = bias.chunk(3)
            for ours, theirs in (('gamma_1', 'attn.gamma1.weight'), ('gamma_2', 'ffn.gamma2.weight')):
                if f'{block}{theirs}' in state_dict:
                    state_dict[f'{block}{ours}'] = state_dict.pop(f'{block}{theirs}')
            if f'{block}attn.{table}' in state_dict and layer.attn.use_rel_pos_bias:
                _fit_table(state_dict, f'{block}attn.{table}', layer.attn)
                if state_dict.pop(f'{block}attn.{index}', None) is None:  # a constant: this network has its own
                    state_dict[f'{block}attn.{index}'] = layer.attn.relative_position_index


def _fit_table(state_dict: dict, key: str, attention: BEiTAttention) -> None:
    saved = state_dict[key]
    if len(saved) == len(attention.relative_position_bias_table):
        return
    side = math.isqrt(len(saved) - 3)  # 2 h - 1, of a square grid; what is none is refused for its shape
    if side % 2 and side * side == len(saved) - 3:
        source = ((side + 1) // 2, (side + 1) // 2)
        state_dict[key] = resize_relative_table_as_beit(saved, source, attention.window_size)
