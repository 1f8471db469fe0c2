"""Which of the classes each masked patch is."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimselfsup.registry import MODELS


@MODELS.register_module()
class MaskedClassificationLoss(nn.Module):
    """Mean over all masked patches of the batch of -log softmax(predicted)[target], in float32 at least.

    An image of which more is masked weighs more. A batch in which nothing is masked has loss 0.
    """

    def forward(self, predicted: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits (B, M, K) and classes (B, M) int64 at the masked patches; ``valid`` (B, M), False at padding."""
        logits = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
        surprise = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction='none')
        if valid is None:
            return surprise.sum() / max(surprise.numel(), 1)
        return (surprise * valid.flatten()).sum() / valid.sum().clamp(min=1)
