"""Classification where most classes were not looked for in most images: LVIS."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimselfsup.registry import MODELS


@MODELS.register_module()
class FederatedLoss(nn.Module):
    """Binary cross-entropy over a few classes at a time, for ``loss_cls`` of mmdet's box heads.

    In each call those classes count that a box of the batch has (background is one of them), filled up to ``sampled``
    with others, drawn without replacement in proportion to ``class_counts ** power``, so never one without an image.
    The loss of a box is the sum over them, and boxes are averaged. With ``sampled=None`` all classes count.
    Predictions are sigmoids; there is no logit for background. Source: CenterNet2, arXiv 2103.07461, as in
    detectron2's ``FastRCNNOutputLayers`` (``use_fed_loss``).

    Args:
        class_counts: in how many training images each class is. Usually not known in a config:
            :class:`~mimselfsup.transfer.hooks.ClassCountsHook` counts. Checkpoints carry them.
    """

    # What mmdet's box heads ask a loss that is not a softmax.
    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True
    use_sigmoid = True

    def __init__(
        self,
        num_classes: int,
        sampled: int | None = 50,
        power: float = 0.5,
        class_counts: Sequence[int] | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if sampled is not None and sampled < 1:
            raise ValueError(f'FederatedLoss: sampled={sampled}, must be at least 1, or None for all classes')
        self.num_classes = num_classes
        self.sampled = sampled
        self.power = power
        self.loss_weight = loss_weight
        self.register_buffer('class_counts', torch.zeros(num_classes))
        self._has_counts = False  # asked of the device once
        if class_counts is not None:
            self.set_class_counts(class_counts)

    def set_class_counts(self, class_counts: Sequence[int] | Tensor) -> None:
        if len(class_counts) != self.num_classes:
            raise ValueError(
                f'FederatedLoss: counts of {len(class_counts)} classes, but num_classes={self.num_classes}'
            )
        self.class_counts.copy_(torch.as_tensor(class_counts))

    def get_cls_channels(self, num_classes: int) -> int:
        """Logits per box. Raises ValueError if the head has another number of classes."""
        if num_classes != self.num_classes:
            raise ValueError(f'FederatedLoss: num_classes={self.num_classes}, but that of its head is {num_classes}')
        return num_classes

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """(n, K) logits -> (n, K + 1) scores; mmdet drops the last, of background."""
        return F.pad(cls_score.sigmoid(), (0, 1))

    def get_accuracy(self, cls_score: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Percentage of the boxes on objects whose highest score is that of their class."""
        on_object = labels < self.num_classes
        right = (cls_score.argmax(1) == labels) & on_object
        return dict(acc_classes=100.0 * right.sum() / on_object.sum().clamp(min=1))

    def forward(
        self,
        cls_score: Tensor,
        labels: Tensor,
        label_weights: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """``cls_score`` (n, K); ``labels`` (n,), K for background. Divided by ``avg_factor``, n if None.

        Raises ValueError for a ``reduction_override`` other than 'mean', and if no class counts are known.
        """
        if reduction_override not in (None, 'mean'):
            raise ValueError(f"FederatedLoss: reduction_override={reduction_override!r}, only 'mean' is supported")
        target = F.one_hot(labels, self.num_classes + 1)[:, :-1].to(cls_score.dtype)
        losses = F.binary_cross_entropy_with_logits(cls_score, target, reduction='none')
        if self.sampled is not None:
            losses = losses * self.draw_classes(labels)
        per_box = losses.sum(1)
        if label_weights is not None:
            per_box = per_box * label_weights
        return self.loss_weight * per_box.sum() / (len(labels) if avg_factor is None else avg_factor)

    def draw_classes(self, labels: Tensor) -> Tensor:
        """bool (K,): the classes that count for a batch of boxes with these ``labels``."""
        if not self._has_counts:
            if not self.class_counts.any():
                raise ValueError(
                    "FederatedLoss does not know the class counts: add dict(type='mimselfsup.ClassCountsHook') to "
                    'custom_hooks, or set class_counts'
                )
            self._has_counts = True
        background = self.num_classes
        present = torch.zeros(background + 1, dtype=torch.bool, device=labels.device).index_fill(0, labels, True)
        # Drawing without replacement is taking the largest of log weight + Gumbel noise; no number leaves the device.
        noise = -torch.empty(background, device=labels.device).exponential_().log()
        keys = (self.power * self.class_counts.log() + noise).masked_fill(self.class_counts == 0, -torch.inf)
        keys = F.pad(keys, (0, 1), value=-torch.inf).masked_fill(present, torch.inf)
        highest = keys.topk(min(self.sampled, len(keys))).indices
        drawn = torch.zeros_like(present).index_fill(0, highest, True) & (keys > -torch.inf)
        return (drawn | present)[:background]  # where more are present than are asked for, all of them
