"""The distance between predicted and true values of the masked patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimselfsup.registry import MODELS

CRITERIA = dict(l1=F.l1_loss, l2=F.mse_loss, smooth_l1=F.smooth_l1_loss)


@MODELS.register_module()
class MaskedRegressionLoss(nn.Module):
    """Mean over all values of all masked patches of the batch.

    With l2 that is MAE's loss, sum(m * mean_d(o - t)^2) / sum(m); with l1 SimMIM's, whose divisor counts
    hidden pixels and then the 3 channels. A batch in which nothing is masked has loss 0.
    """

    def __init__(self, criterion: str = 'l2') -> None:
        super().__init__()
        if criterion not in CRITERIA:
            raise ValueError(f'MaskedRegressionLoss: criterion={criterion!r}, must be one of {tuple(CRITERIA)}')
        self.criterion = criterion

    def forward(self, predicted: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """``predicted``, ``target`` (B, M, P) at the masked patches; ``valid`` (B, M), False at padding."""
        if predicted.dtype in (torch.float16, torch.bfloat16):
            predicted = predicted.float()
        distance = CRITERIA[self.criterion](predicted, target.to(predicted.dtype), reduction='none').mean(-1)
        if valid is None:
            return distance.sum() / max(distance.numel(), 1)
        return (distance * valid).sum() / valid.sum().clamp(min=1)
