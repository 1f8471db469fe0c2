"""Reads what a step has logged when somebody looks at it, instead of at every step."""

import math
from typing import Any

import torch
from mmengine.hooks import LoggerHook
from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from mimselfsup.engine.checkpoint import plain_message_hub
from mimselfsup.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(_RuntimeInfoHook):
    """MMEngine's hook without its synchronisations, and an end to a run whose loss is not a number.

    MMEngine copies every logged value to the host in every iteration, and each copy waits until the device has
    finished. Here the values stay where they are until the logger writes, an epoch or the training ends, or a
    checkpoint is saved; then they are copied together. From there on the message hub holds what MMEngine's hook would
    have put into it.

    Raises ValueError at that moment if a loss is infinite or no number, so that no later weights are saved: it
    names the iteration and the terms.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval = min(intervals, default=50)
        self._unread: list[tuple[int, dict[str, Any]]] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if outputs is not None:
            values = {key: value.detach() if isinstance(value, Tensor) else value for key, value in outputs.items()}
            self._unread.append((runner.iter + 1, values))
        if self.every_n_inner_iters(batch_idx, self._interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._read(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._unread:
            self._read(runner)
            checkpoint['message_hub'] = plain_message_hub(runner.message_hub.state_dict())

    def after_train(self, runner: Runner) -> None:
        if self._unread:
            self._read(runner)
        super().after_train(runner)

    def _read(self, runner: Runner) -> None:
        unread, self._unread = self._unread, []
        tensors = [value for _, values in unread for value in values.values() if isinstance(value, Tensor)]
        numbers = iter(on_host(tensors))
        for iteration, values in unread:
            values = {key: next(numbers) if isinstance(value, Tensor) else value for key, value in values.items()}
            for key, value in values.items():
                runner.message_hub.update_scalar(f'train/{key}', value)
            losses = {key: value for key, value in values.items() if 'loss' in key}
            if not all(map(math.isfinite, losses.values())):
                terms = ', '.join(f'{key}={value:g}' for key, value in losses.items())
                raise ValueError(
                    f'the training has diverged: {terms} at iteration {iteration}. Resume from an earlier checkpoint, '
                    f'or start again, with a lower learning rate, clipped gradients, or bfloat16 in place of float16'
                )


def on_host(tensors: list[Tensor]) -> list[float]:
    """The numbers that tensors of one element hold; one copy for each device and data type among them."""
    places: dict[tuple, list[int]] = {}
    for place, tensor in enumerate(tensors):
        places.setdefault((tensor.device, tensor.dtype), []).append(place)
    numbers = [0.0] * len(tensors)
    for group in places.values():
        values = torch.stack([tensors[place].reshape(()) for place in group]).tolist()
        for place, value in zip(group, values, strict=True):
            numbers[place] = value
    return numbers
