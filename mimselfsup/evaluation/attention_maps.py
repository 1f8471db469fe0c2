"""Attention maps as they are, of any block and any token: for looking and measuring, not for training."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mimselfsup.models.backbones.masked_vit import MaskedViT, relative_bias


def attention_maps(
    backbone: nn.Module,
    images: Tensor,
    blocks: Sequence[int] | None = None,
    queries: Sequence[int] | slice = slice(None),
) -> Iterator[Tensor]:
    """The attention of each block to all tokens, (B, heads, Q, E + N) in float32; rows sum to 1.

    Attention itself runs fused and has no map to hand out. So this is computed a second time, from the queries and keys
    that each block made while ``images`` (B, 3, H, W) were encoded, and one block at a time: the maps of all blocks of
    a ViT-B are 22 MB an image. The backbone should be in eval mode.

    Args:
        blocks: in the order they stand in the backbone, whatever the order here; all by default.
        queries: which tokens ask, counted with the E extra tokens, which stand first; all by default.

    Raises ValueError for anything but a MaskedViT: in the windows of a Swin a token does not see all others.
    """
    if not isinstance(backbone, MaskedViT):
        raise ValueError(f'{type(backbone).__name__} has no attention between all tokens; use a MaskedViT')
    layers = list(backbone.layers)
    if blocks is not None:
        chosen = {range(len(layers))[block] for block in blocks}  # -1 is the last
        layers = [layer for depth, layer in enumerate(layers) if depth in chosen]
    projected: list[Tensor] = []
    hooks = [
        layer.attn.qkv.register_forward_hook(lambda module, inputs, output: projected.append(output))
        for layer in layers
    ]
    try:
        with torch.no_grad():
            backbone.encode(images)
            bias = None
            if backbone.rel_pos_bias is not None:
                bias = relative_bias(backbone.rel_pos_bias, backbone.token_grid(images.shape[-2:]))
    finally:
        for hook in hooks:
            hook.remove()
    return (_attention(layer.attn.num_heads, qkv, bias, queries) for layer, qkv in zip(layers, projected, strict=True))


def _attention(heads: int, qkv: Tensor, bias: Tensor | None, queries: Sequence[int] | slice) -> Tensor:
    query, key, _ = qkv.float().unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, d)
    with torch.autocast(qkv.device.type, enabled=False):
        logits = query[:, :, queries] @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if bias is not None:
        logits += bias[:, queries].float()
    return logits.softmax(-1)
