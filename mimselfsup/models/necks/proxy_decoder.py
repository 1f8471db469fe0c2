"""SemanticMIM's half of reconstruction: mask tokens that know of the image what a few [CLS] tokens can say."""

import copy

import torch
from mmpretrain.models.backbones.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimselfsup.models.backbones.masked_vit import init_blocks, run_block
from mimselfsup.models.backbones.tokens import Tokens
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask, TokenSubset

from .linear_decoder import LinearDecoder


@MODELS.register_module()
class ProxyDecoder(LinearDecoder):
    """A host's linear layer, on mask tokens that never met the visible patches; makes any host a SemanticMIM.

    Beside each block of the encoder stands one of its size with weights of its own, in which the mask tokens attend
    to the proxies that the encoder's block has just handed out, and to each other:

        [proxies i+1; patches i+1] = block_i([proxies i; patches i])                      the encoder
        hidden i+1                 = own_block_i([proxies i+1; hidden i]), hidden alone   here

    The mask tokens get the encoder's positions at the start and its final norm at the end. Nothing in here is
    part of the backbone: after pre-training that is a plain ViT with several [CLS] tokens.

    Source: SemanticMIM, equations 3 and 4, as in yyk-wew/SemanticMIM, whose separate projections of queries
    and of keys and values are one matrix here.

    Args:
        kwargs: LinearDecoder's, by the algorithm. The blocks follow from the encoder, see :meth:`bind`.
    """

    reads = 'compress'
    predicts_anywhere = True  # also where the encoder sees the patch, since that would not show it

    def __init__(self, in_channels: int, **kwargs) -> None:
        super().__init__(in_channels, **kwargs)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, in_channels))

    def bind(self, encoder: VisionTransformer) -> None:
        """Mirrors the blocks of ``encoder``: widths, heads, layer scale, stochastic depth and how weights are drawn."""
        if encoder.pos_embed is None:
            raise ValueError(
                "ProxyDecoder: mask tokens need absolute positions, but the backbone has position='shared_relative'; "
                "use 'learned' or 'sincos'"
            )
        self._encoder = (encoder,)  # in a tuple it is no submodule, so its weights stand in the state dict once
        self.blocks = copy.deepcopy(encoder.layers)
        self.init_weights()

    def init_weights(self) -> None:
        super().init_weights()
        (encoder,) = self._encoder
        init_blocks(self.blocks, encoder.weight_init)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tokens, mask: TokenMask) -> Tensor:
        """-> (B, M, out_channels) at the masked patches. Of ``tokens`` only the proxies are read."""
        (encoder,) = self._encoder
        masked = mask.masked_subset
        positions = encoder.positions(tokens.grid)[:, encoder.num_extra_tokens :]
        hidden = self.mask_token + masked.gather(positions.expand(len(masked.index), -1, -1))
        bias = _padding_bias(encoder.num_extra_tokens, masked)
        for block, proxies in zip(self.blocks, tokens.proxies, strict=True):
            # The block's output at the proxies is not wanted: they serve as keys and values alone.
            hidden, _ = run_block(block, torch.cat([proxies, hidden], 1), bias, keys_only=proxies.shape[1])
        return self.prediction(encoder.ln1(hidden) if encoder.final_norm else hidden)


def _padding_bias(num_proxies: int, masked: TokenSubset) -> Tensor | None:
    """(B, 1, 1, P + M): -inf at mask tokens that only pad a row; None where none do."""
    if masked.valid is None:
        return None
    padding = torch.zeros(masked.valid.shape, device=masked.valid.device).masked_fill_(~masked.valid, float('-inf'))
    return nn.functional.pad(padding, (num_proxies, 0))[:, None, None]
