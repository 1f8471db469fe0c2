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


def conv_to_linear(weight: Tensor, cells: int) -> Tensor:
    """SimMIM's 1 x 1 convolution before a pixel shuffle, as ``LinearDecoder.prediction``.

    ``weight`` (3 s^2, D, 1, 1), channel slowest, or its bias (3 s^2,); the outputs of the result are ordered by
    masked patch, then row, column and channel (fastest). s is the side of a cell in pixels.
    """
    weight = weight.flatten(1) if weight.ndim > 1 else weight
    patch = _cell_side(weight) // cells
    split = weight.unflatten(0, (3, cells, patch, cells, patch))
    order = (1, 3, 2, 4, 0)
    return split.permute(*order, *range(5, split.ndim)).flatten(0, 4)


def linear_to_conv(weight: Tensor, cells: int) -> Tensor:
    """The inverse of :func:`conv_to_linear`: (3 s^2, D) -> (3 s^2, D, 1, 1), a bias (3 s^2,) -> (3 s^2,)."""
    patch = _cell_side(weight) // cells
    split = weight.unflatten(0, (cells, cells, patch, patch, 3))
    order = (4, 0, 2, 1, 3)
    conv = split.permute(*order, *range(5, split.ndim)).flatten(0, 4)
    return conv[:, :, None, None] if conv.ndim > 1 else conv


def _cell_side(weight: Tensor) -> int:
    side = round((len(weight) / 3) ** 0.5)
    if 3 * side**2 != len(weight):
        raise ValueError(f'a pixel head has 3 * side^2 outputs, not {len(weight)}')
    return side
