"""Saliency that is computed on the spot: what a network attends to in the images of the batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mimselfsup.registry import MODELS


def mean_over_heads(cls_attention: Tensor) -> Tensor:
    """(B, heads, N) attention of [CLS] -> saliency (B, N), float32, without a gradient."""
    return cls_attention.detach().float().mean(1)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Every module of ``network`` in eval mode within the block, and in its own mode again after it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def cls_attention(backbone: nn.Module, images: Tensor) -> Tensor:
    """(B, heads, N): the last block's [CLS] row for whole images, or what stands in for it in a backbone without
    [CLS] (MaskedSwin), in eval mode."""
    with eval_mode(backbone):
        return backbone.encode(images, cls_attention=True).cls_attention


def require_attention(owner: str, backbone: nn.Module) -> None:
    """Raises ValueError if the backbone does not say that it can hand out attention (``gives_attention``)."""
    if not getattr(backbone, 'gives_attention', False):
        raise ValueError(
            f'{owner}: this {type(backbone).__name__} has no attention to take saliency from: that needs a MaskedViT '
            f'with its [CLS] token or a MaskedSwin. Use one of them, or a masking that needs no saliency'
        )


@MODELS.register_module()
class EncoderAttention:
    """The attention of the algorithm's own encoder, as it is now, to the images of the batch.

    Costs a full forward pass per step, without a gradient; :class:`AttentionBank` is the cheap alternative.
    Saliency is (B, N), the mean over heads; each row sums to 1 minus the attention of [CLS] to itself. Of a Swin it is
    the attention that tokens receive.

    It is no ``nn.Module``, so the encoder it is bound to stands in the state dict only once.
    """

    def __init__(self) -> None:
        self._backbone = None

    def bind(self, backbone: nn.Module) -> None:
        """Takes attention from ``backbone``. Raises ValueError if it has none to give."""
        require_attention('EncoderAttention', backbone)
        self._backbone = backbone

    def __call__(self, images: Tensor, data_samples: list | None, grid: tuple[int, int]) -> Tensor:
        """``images`` (B, 3, H, W), normalised; ``data_samples`` are not looked at."""
        if self._backbone is None:
            raise ValueError('EncoderAttention: no encoder; the algorithm must call bind(backbone) first')
        return mean_over_heads(cls_attention(self._backbone, images))
