"""MAE's decoder: a narrow transformer that fills in what the encoder did not see."""

import torch
from mmpretrain.models.necks import MAEPretrainDecoder
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from mimselfsup.models.backbones.masked_vit import run_block
from mimselfsup.models.backbones.positions import sincos_positions
from mimselfsup.models.backbones.tokens import Tokens
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask


@MODELS.register_module()
class TransformerDecoder(MAEPretrainDecoder):
    """mmpretrain's ``MAEPretrainDecoder`` (same state dict), which predicts the masked patches alone.

    Its sequence is [CLS], the visible tokens, then a mask token for each masked patch, all with their
    positions; attention does not care for the order, so nothing has to be put back into place. Thrown patches do
    not occur.

    Args:
        in_channels, out_channels, grid, cells: from the backbone and the target, by the algorithm.
        width, depth, num_heads: 512, 8 and 16 in MAE, whatever the encoder.
    """

    reads = 'drop'  # of MaskedViT(hidden=...): masked tokens come from here, not from the encoder

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: tuple[int, int],
        cells: int = 1,
        width: int = 512,
        depth: int = 8,
        num_heads: int = 16,
    ) -> None:
        if cells != 1:
            raise ValueError('TransformerDecoder: needs a backbone whose output has the grid that is masked')
        super().__init__(
            num_patches=grid[0] * grid[1],
            embed_dim=in_channels,
            decoder_embed_dim=width,
            decoder_depth=depth,
            decoder_num_heads=num_heads,
            predict_feature_dim=out_channels,
        )
        self.grid = tuple(grid)
        self.decoder_pos_embed.data = sincos_positions(self.grid, width)

    def init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tokens, mask: TokenMask) -> Tensor:
        """Tokens of an encoder that dropped the masked ones -> (B, M, out_channels) at the masked patches."""
        visible, masked = mask.visible_subset, mask.masked_subset
        positions = resize_pos_embed(self.decoder_pos_embed, self.grid, tokens.grid)
        patch_positions = positions[:, 1:].expand(len(tokens.patches), -1, -1)
        sequence = torch.cat(
            [
                self.decoder_embed(tokens.extra) + positions[:, :1],
                self.decoder_embed(tokens.patches) + visible.gather(patch_positions),
                self.mask_token + masked.gather(patch_positions),
            ],
            dim=1,
        )
        bias = None
        if visible.valid is not None or masked.valid is not None:
            bias = _padding_bias(tokens.extra.shape[1], visible, masked, sequence)
        for block in self.decoder_blocks:
            sequence, _ = run_block(block, sequence, bias)
        hidden = sequence[:, sequence.shape[1] - masked.index.shape[1] :]
        return self.decoder_pred(self.decoder_norm(hidden))


def _padding_bias(num_extra: int, visible, masked, like: Tensor) -> Tensor:
    """(B, 1, 1, T): -inf at tokens that only pad a row."""
    present = [torch.ones(len(like), num_extra, dtype=torch.bool, device=like.device)]
    for subset in (visible, masked):
        present.append(torch.ones_like(subset.index, dtype=torch.bool) if subset.valid is None else subset.valid)
    bias = torch.zeros(like.shape[:2], device=like.device)
    return bias.masked_fill_(~torch.cat(present, 1), float('-inf'))[:, None, None, :]
