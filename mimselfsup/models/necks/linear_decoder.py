"""One linear layer from each masked token to its target (SimMIM, BEiT, MaskFeat)."""

from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from mimselfsup.models.backbones.tokens import Tokens
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask


@MODELS.register_module()
class LinearDecoder(BaseModule):
    """Predicts the masked patches from the encoder's tokens in their place.

    Args:
        in_channels, out_channels, grid: from the backbone and the target, by the algorithm.
        cells: masked patches per side of one output token; 8 for Swin, which masks 4 px and answers in 32 px.
    """

    reads = 'replace'  # of MaskedViT(hidden=...): it needs a token where a patch is masked

    def __init__(self, in_channels: int, out_channels: int, grid: tuple[int, int], cells: int = 1) -> None:
        super().__init__()
        self.cells = cells
        self.prediction = nn.Linear(in_channels, out_channels * cells**2)

    def init_weights(self) -> None:
        trunc_normal_(self.prediction.weight, std=0.02)
        nn.init.zeros_(self.prediction.bias)

    def forward(self, tokens: Tokens, mask: TokenMask) -> Tensor:
        """-> (B, M, out_channels) at the masked patches."""
        if self.cells == 1:
            return self.prediction(mask.masked_in_kept.gather(tokens.patches))
        height, width = tokens.grid
        predicted = self.prediction(tokens.patches)
        # (B, h, w, row in the cell, column in the cell, P) -> the row-major grid that is masked
        predicted = predicted.view(len(predicted), height, width, self.cells, self.cells, -1)
        predicted = predicted.permute(0, 1, 3, 2, 4, 5).flatten(1, 4)
        return mask.masked_subset.gather(predicted)
