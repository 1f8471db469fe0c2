"""What hooks ask a runner for."""

from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner


def model_of(runner: Runner) -> BaseModel:
    """The model without what distributed training wraps it in."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def epoch_of(runner: Runner) -> int:
    """Complete passes over the training data, from 0; loops that count iterations know no epoch of their own."""
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return runner.epoch
    return runner.iter // len(runner.train_dataloader)
