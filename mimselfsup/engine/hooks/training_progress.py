"""What an algorithm is told about the run: how far it is, and when the weights have changed."""

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict

from mimselfsup.datasets.transforms.seed import derive_seed
from mimselfsup.registry import HOOKS

from .run_state import epoch_of, model_of


@HOOKS.register_module()
class TrainingProgressHook(Hook):
    """Makes every iteration a function of (seed, iteration, rank), and reports to the model.

    Before an iteration, the generators of the main process are seeded from these three, so that masks and
    dropout of a resumed run are those of the run that was never killed; ``model.progress`` becomes iteration /
    all iterations, and ``model.epoch`` the epoch, from 0. After a true optimizer step,
    ``model.after_optimizer_step()`` is called: not between accumulated batches, and not where loss scaling
    skipped the step. Models without one of these names do without.
    """

    priority = 'ABOVE_NORMAL'  # the average of the weights is up to date before a checkpoint is written

    def __init__(self) -> None:
        self._stepped = False

    def before_train(self, runner) -> None:
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        for each in wrappers:
            # The optimizer itself is asked: gradient scalers and accumulation decide above it.
            each.optimizer.register_step_post_hook(self._note_step)

    def _note_step(self, *_) -> None:
        self._stepped = True

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        seed = derive_seed(runner.base_seed, runner.iter, runner.rank)
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        torch.manual_seed(seed)
        model = model_of(runner)
        if hasattr(model, 'progress'):
            model.progress = runner.iter / runner.max_iters
        if hasattr(model, 'epoch'):
            model.epoch = epoch_of(runner)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        stepped, self._stepped = self._stepped, False
        model = model_of(runner)
        if stepped and hasattr(model, 'after_optimizer_step'):
            model.after_optimizer_step()
