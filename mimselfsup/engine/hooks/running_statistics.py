"""What batch norms have learnt of the data, where several processes each see a part of it."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mimselfsup.registry import HOOKS


@HOOKS.register_module()
class RunningStatisticsHook(Hook):
    """Lets all processes go into a validation, and out of an epoch, with the same running statistics.

    BN (not SyncBN) follows the batches of its own process. Without this a score in training is one of as many models
    as there are processes, and none of them is in the checkpoint but that of the first. ``CheckpointHook`` does the
    same before it saves. Means of running means are running means of the means, so that it does not matter when.

    (MMEngine's SyncBuffersHook averages all buffers, counters and tables too, and not before a checkpoint that is
    saved between validations.)
    """

    priority = 'NORMAL'

    def before_val_epoch(self, runner) -> None:
        join_running_statistics(runner.model)

    def after_train_epoch(self, runner) -> None:
        join_running_statistics(runner.model)


def join_running_statistics(model: nn.Module) -> None:
    """Replaces running means and variances of BN by their means over all processes, exactly where they are equal. All
    processes have to call it."""
    own = [
        value
        for part in model.modules()
        if isinstance(part, _BatchNorm) and not isinstance(part, nn.SyncBatchNorm)
        for value in (part.running_mean, part.running_var)
        if value is not None
    ]
    if get_world_size() == 1 or not own:
        return
    joined = torch.cat([value.flatten().double() for value in own])
    all_reduce(joined, op='mean')
    for value, mean in zip(own, joined.split([value.numel() for value in own]), strict=True):
        value.copy_(mean.view_as(value))
