"""Cross-entropy between a teacher's and a student's distributions over prototypes (DINO, iBOT)."""

from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mimselfsup.registry import MODELS

_TOGETHER = 2**24  # logits of which copies in float32 exist at a time: 64 MiB


def warmed_up(value: float | dict, epoch: int) -> float:
    """The value at ``epoch`` (from 0) of a number, or of dict(start, end, epochs): linear, both ends included.

    DINO's ``linspace(start, end, epochs)[epoch]``, then ``end``.
    """
    if not isinstance(value, dict):
        return value
    last = value['epochs'] - 1
    if epoch >= last:
        return value['end']
    return value['start'] + (value['end'] - value['start']) * max(epoch, 0) / last


def entropy(distribution: Tensor) -> Tensor:
    """(..., K) -> (...), in nats."""
    return -torch.special.xlogy(distribution, distribution).sum(-1)


def cross_entropy(targets: Tensor, logits: Tensor, weight: float = 1.0, temperature: float = 1.0) -> Tensor:
    """(R, K) targets that sum to ``weight`` per row, (R, K) logits of any precision -> (R,), at least float32.

    With o = logits / temperature: -sum_k t_k log_softmax(o)_k = weight * logsumexp(o) - <t, o>. There are no gradients
    of the targets and no second derivatives.
    """
    return _CrossEntropy.apply(targets, logits, weight, temperature)


class _CrossEntropy(torch.autograd.Function):
    """Keeps targets and logits as they came, for the backward pass.

    Left to autograd, it would keep the logits in float32 and divided by the temperature as well; and have gradients of
    that size for each of the two terms. Tables of all patches, or of 65536 prototypes, are what is large here.
    """

    @staticmethod
    def forward(ctx, targets: Tensor, logits: Tensor, weight: float, temperature: float) -> Tensor:
        normalizers = logits.new_empty(len(logits), dtype=torch.promote_types(logits.dtype, torch.float32))
        losses = torch.empty_like(normalizers)
        for rows in _parts(logits):
            scaled = logits[rows].to(losses.dtype, copy=True).div_(temperature)
            normalizers[rows] = scaled.logsumexp(-1)
            losses[rows] = weight * normalizers[rows] - scaled.mul_(targets[rows]).sum(-1)
        ctx.save_for_backward(targets, logits, normalizers)
        ctx.weight, ctx.temperature = weight, temperature
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, of_losses: Tensor) -> tuple[Tensor | None, ...]:
        targets, logits, normalizers = ctx.saved_tensors
        of_logits = torch.empty_like(logits)
        for rows in _parts(logits):
            scaled = logits[rows].to(normalizers.dtype, copy=True).div_(ctx.temperature)
            probabilities = scaled.sub_(normalizers[rows].unsqueeze(-1)).exp_()
            difference = probabilities.mul_(ctx.weight).sub_(targets[rows])
            of_logits[rows] = difference.mul_((of_losses[rows] / ctx.temperature).unsqueeze(-1))
        return None, of_logits, None, None


def _parts(logits: Tensor) -> Iterator[slice]:
    size = max(1, _TOGETHER // logits.shape[-1])
    return (slice(start, start + size) for start in range(0, len(logits), size))


class _Distillation(nn.Module):
    """What the losses of images and of patches share: temperatures, the centre, targets.

    Args:
        num_prototypes: K, from the projector, by the algorithm.
        student_temp: temperature of the student's softmax.
        teacher_temp: of the teacher's, a number or dict(start=0.04, end=0.07, epochs=30), which changes by epoch.
        center_momentum: of the running mean of the teacher's logits, that is subtracted from them.
        weight: of the loss in the sum; the algorithm multiplies by it.
    """

    def __init__(
        self,
        num_prototypes: int,
        student_temp: float = 0.1,
        teacher_temp: float | dict = 0.04,
        center_momentum: float = 0.9,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if isinstance(teacher_temp, dict):
            if set(teacher_temp) != {'start', 'end', 'epochs'} or teacher_temp['epochs'] < 1:
                raise ValueError(
                    f'{owner}: teacher_temp={dict(teacher_temp)}, must be a number or dict(start=..., end=..., '
                    f'epochs=...) with at least 1 epoch'
                )
            temperatures = [teacher_temp['start'], teacher_temp['end']]
        else:
            temperatures = [teacher_temp]
        if min(student_temp, *temperatures) <= 0:
            raise ValueError(f'{owner}: student_temp={student_temp}, teacher_temp={teacher_temp}, must be above 0')
        if not 0 <= center_momentum <= 1:
            raise ValueError(f'{owner}: center_momentum={center_momentum}, must lie in [0, 1]')
        self.student_temp = student_temp
        self.teacher_temp = teacher_temp
        self.center_momentum = center_momentum
        self.weight = weight
        self.register_buffer('center', torch.zeros(1, num_prototypes))

    @torch.no_grad()
    def targets(self, logits: Tensor, epoch: int) -> Tensor:
        """Teacher logits (R, K), any precision -> distributions (R, K), float32, by the centre as it is."""
        with torch.autocast(logits.device.type, enabled=False):
            # The difference is float32, as the centre is, without a copy of the logits in float32.
            return (logits - self.center).div_(warmed_up(self.teacher_temp, epoch)).softmax(-1)

    @torch.no_grad()
    def update_center(self, total: Tensor, count: int) -> None:
        """c <- m c + (1 - m) mean, where the mean is over all processes; after the targets were made.

        ``total`` (K,): sum of this process's logits, ``count``: how many. Without any the centre stays.
        """
        gathered = torch.cat([total.flatten().float(), total.new_full((1,), count, dtype=torch.float32)])
        all_reduce(gathered)
        mean = gathered[:-1] / gathered[-1].clamp(min=1)
        moved = self.center.lerp(mean.unsqueeze(0), 1 - self.center_momentum)
        self.center.copy_(torch.where(gathered[-1] > 0, moved, self.center))


@MODELS.register_module()
class CrossViewLoss(_Distillation):
    """The student is to give, on every view, the teacher's distribution on each other global view (DINO).

    With 2 global views and V views in all:
    L = 1 / (2 (V - 1)) sum_{i in {1, 2}} sum_{j != i} mean_b H(P_i, Q_j), as the released code divides; the paper
    writes a sum.

    Source: DINO, arXiv 2104.14294, eq. 2 and 3.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Student logits (V * B, K), view by view, the global ones first; targets (2 * B, K)."""
        first, second = targets.chunk(2)
        batch = len(first)
        both = first + second
        views = logits.split(batch)
        total = logits.new_zeros((), dtype=torch.float32)
        with torch.autocast(logits.device.type, enabled=False):
            for place, view in enumerate(views):
                # A global view is compared with the other one, a local view with both.
                wanted, count = ((second, 1), (first, 1))[place] if place < 2 else (both, 2)
                total = total + cross_entropy(wanted, view, count, self.student_temp).mean()
        return total / (2 * (len(views) - 1))


@MODELS.register_module()
class MaskedPatchLoss(_Distillation):
    """At each masked patch the student is to give the teacher's distribution at the same place of the same view (iBOT).

    L = mean over all rows (views of images), also those without a mask, of the mean over the masked patches of the row:
    a row without any counts 0.

    Args:
        center_over: 'all', the mean of the teacher's logits of every patch, as published; 'masked', of the masked
            ones only, which saves the teacher's head the rest.
        start_epoch: the epochs before it do not count for the warm-up of the teacher's temperature (iBOT's Swin
            starts to mask late).

    Source: iBOT, arXiv 2111.07832, eq. 2 and 3, and its released code.
    """

    def __init__(self, *args, center_over: str = 'all', start_epoch: int = 0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if center_over not in ('all', 'masked'):
            raise ValueError(f"MaskedPatchLoss: center_over={center_over!r}, must be 'all' or 'masked'")
        self.center_over = center_over
        self.start_epoch = start_epoch

    def targets(self, logits: Tensor, epoch: int) -> Tensor:
        return super().targets(logits, epoch - self.start_epoch)

    def forward(self, logits: Tensor, targets: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
        """Args:
        logits, targets: (T, K) at the T masked patches of the batch.
        rows: (T,) the row of each.
        counts: (R,) masked patches of every row.
        """
        with torch.autocast(logits.device.type, enabled=False):
            each = cross_entropy(targets, logits, temperature=self.student_temp)
            return (each / counts[rows]).sum() / len(counts)
