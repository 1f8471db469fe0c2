"""What the algorithms share: the modes of ``forward`` and two hand-holds for the training hook."""

from mmengine.model import BaseModel
from torch import Tensor


class BaseAlgorithm(BaseModel):
    """A pre-training algorithm: a subclass writes its step in :meth:`loss`, from views to losses.

    ``progress`` is the share of the training that is done, in [0, 1], set by a hook before each iteration;
    schedules are pure functions of it. ``epoch``, from 0, is set likewise.
    """

    progress: float = 0.0
    epoch: int = 0

    def forward(
        self, inputs: Tensor | list[Tensor], data_samples: list | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """mode 'loss': dict of losses of a batch of views; 'tensor': the backbone's features of images."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"{type(self).__name__}: mode={mode!r}, must be 'loss' or 'tensor'")

    def loss(self, inputs: Tensor | list[Tensor], data_samples: list | None) -> dict[str, Tensor]:
        raise NotImplementedError

    def after_optimizer_step(self) -> None:
        """Called by a hook after each true optimizer step; the only place where a teacher changes."""

    def after_pretrained(self) -> None:
        """Called when ``backbone`` has been filled from a checkpoint, for what has to follow it."""

    def check_saliency_source(self) -> None:
        """Raises ValueError if ``masking`` ranks by saliency and has no source, or ``masking_before`` ranks by it."""
        owner = type(self).__name__
        if self.masking.needs_saliency and self.saliency is None:
            raise ValueError(
                f'{owner}: masking {type(self.masking).__name__} ranks patches by saliency, but there is no source of '
                f"it; add saliency=dict(type='EncoderAttention') or dict(type='AttentionBank')"
            )
        if self.masking_before is not None and self.masking_before.needs_saliency:
            raise ValueError(
                f'{owner}: masking_before={type(self.masking_before).__name__} is for the time before there is '
                f'saliency, but it needs some; use RandomMasking, BlockMasking or GridMasking'
            )
