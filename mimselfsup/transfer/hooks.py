"""What training a detector needs to know before it starts."""

import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor

from mimselfsup.registry import HOOKS

from .models.federated_loss import FederatedLoss


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Tells every :class:`FederatedLoss` of the model in how many training images each class is.

    Images that the data set leaves out (without boxes, too small) are not counted, repeated ones count once.
    """

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        losses = [part for part in model.modules() if isinstance(part, FederatedLoss)]
        if not losses:
            raise ValueError('ClassCountsHook: the model has no FederatedLoss; remove the hook from custom_hooks')
        dataset = runner.train_dataloader.dataset
        while hasattr(dataset, 'dataset'):  # ClassBalancedDataset and its like
            dataset = dataset.dataset
        counts = images_per_class(dataset, losses[0].num_classes)
        for loss in losses:
            loss.set_class_counts(counts)
        runner.logger.info(f'FederatedLoss: {int((counts > 0).sum())} of {len(counts)} classes have training images')


def images_per_class(dataset: BaseDataset, num_classes: int) -> Tensor:
    """(num_classes,): how many images of ``dataset`` have an object of the class. Raises ValueError for a label
    beyond them."""
    counts = torch.zeros(num_classes, dtype=torch.long)
    for index in range(len(dataset)):
        labels = set(dataset.get_cat_ids(index))
        if labels and max(labels) >= num_classes:
            raise ValueError(
                f'the training data has a class of label {max(labels)}, but the loss is for num_classes={num_classes}'
            )
        counts[list(labels)] += 1
    return counts
