"""What DINO does to the gradients between the backward pass and the optimizer's step."""

from collections.abc import Iterable

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from mimselfsup.registry import HOOKS

from .run_state import epoch_of, model_of


@HOOKS.register_module()
class GradientRulesHook(Hook):
    """Clips the gradient of each parameter by itself, and keeps some parameters as they were initialised for a while.

    Both happen inside the step of the optimizer: once per step where batches are accumulated, on the averaged
    gradient where there are several processes, and without waiting for the device.

    Args:
        clip_per_tensor: the longest gradient that one parameter may have; a longer one is multiplied by
            clip / (norm + 1e-6). This is not ``optim_wrapper.clip_grad``, which bounds the norm of all gradients
            together. None does not clip.
        frozen: part of a name -> epochs; parameters whose name contains it have no gradient in the first so many
            epochs. ``dict(last_layer=1)`` is DINO's. No gradient is not a gradient of zero: AdamW passes the parameter
            over, without decay, moments or a count of the step.

    Raises ValueError when the training starts if the name of no trained parameter contains a key of ``frozen``, or if
    ``optim_wrapper.clip_grad`` would clip as well.

    Source: DINO, arXiv 2104.14294, clip_gradients and cancel_gradients_last_layer of its released code.
    """

    def __init__(self, clip_per_tensor: float | None = None, frozen: dict[str, int] | None = None) -> None:
        if clip_per_tensor is None and not frozen:
            raise ValueError(
                'GradientRulesHook: no rule is given; set clip_per_tensor=3.0, or frozen=dict(last_layer=1), or leave '
                'the hook out'
            )
        if clip_per_tensor is not None and not clip_per_tensor > 0:
            raise ValueError(
                f'GradientRulesHook: clip_per_tensor={clip_per_tensor}, must be above 0; None does not clip'
            )
        for name, epochs in (frozen or {}).items():
            if not isinstance(epochs, int) or epochs < 0:
                raise ValueError(f'GradientRulesHook: frozen={{{name!r}: {epochs!r}}}, must be a number of epochs')
        self.clip_per_tensor = clip_per_tensor
        self.frozen = dict(frozen or {})
        self._frozen_parameters: list[tuple[nn.Parameter, int]] = []
        self._epoch = 0
        self._registered: list = []

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        wrappers = list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        if self.clip_per_tensor is not None and any(each.clip_grad_kwargs for each in wrappers):
            raise ValueError(
                f'GradientRulesHook: clip_per_tensor={self.clip_per_tensor} bounds each gradient by itself, '
                f'optim_wrapper.clip_grad all of them together: set one of the two to None'
            )
        named = [(name, each) for name, each in model_of(runner).named_parameters() if each.requires_grad]
        self._frozen_parameters = []
        for key, epochs in self.frozen.items():
            found = [(parameter, epochs) for name, parameter in named if key in name]
            if not found:
                raise ValueError(
                    f'GradientRulesHook: frozen={self.frozen}: no trained parameter of '
                    f'{type(model_of(runner)).__name__} has {key!r} in its name'
                )
            self._frozen_parameters += found
        self._registered = [each.optimizer.register_step_pre_hook(self._before_step) for each in wrappers]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._epoch = epoch_of(runner)

    def after_train(self, runner: Runner) -> None:
        for handle in self._registered:
            handle.remove()
        self._registered = []

    def _before_step(self, optimizer: Optimizer, *_) -> None:
        for parameter, epochs in self._frozen_parameters:
            if self._epoch < epochs:
                parameter.grad = None
        if self.clip_per_tensor is not None:
            parameters = (parameter for group in optimizer.param_groups for parameter in group['params'])
            # Fused kernels get gradients that a loss scaler has scaled, and its scale; others get unscaled ones.
            clip_each(parameters, self.clip_per_tensor, getattr(optimizer, 'grad_scale', None))


@torch.no_grad()
def clip_each(parameters: Iterable[nn.Parameter], largest: float, grad_scale: torch.Tensor | None = None) -> None:
    """Multiplies each gradient by min(1, largest / (norm + 1e-6)), in place; the norm is that of gradient / scale."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    norms = torch.stack(torch._foreach_norm(gradients))
    if grad_scale is not None:
        norms = norms / grad_scale
    torch._foreach_mul_(gradients, (largest / (norms + 1e-6)).clamp_(max=1).unbind())
