"""Watches a self-distillation for collapse, and whether its prototypes become classes."""

import math

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from mimselfsup.evaluation.clustering import cluster_agreement
from mimselfsup.registry import HOOKS

from .run_state import model_of


@HOOKS.register_module()
class DistillationMonitorHook(Hook):
    """Warns, once for each kind, when the teacher gives the same answer for every image; scores its prototypes.

    At the end of an epoch the means of what the model has logged are looked at, against ln K of its K prototypes:
    ``batch_entropy`` near 0 is collapse to one prototype; ``teacher_entropy`` near ln K with ``teacher_student_kl``
    near 0 is collapse to uniform distributions.

    Where the training data have labels (``with_label=True``), the prototype of each image's first view, from
    ``model.last_assignments``, is compared with its label over the epoch and over all processes. Log and
    visualizers get ``clusters/nmi``, ``clusters/ari``, ``clusters/purity`` (shares) and ``clusters/clusters`` (how
    many prototypes are in use). The weights move meanwhile, so this is the past epoch's average view, for free; an
    epoch that was resumed in the middle counts from there. Labels are compared and never trained on.

    Args:
        interval: epochs from one comparison with the labels to the next; the last epoch counts as well.
        settle_epochs: distributions may be uniform during the first so many epochs.
        tolerance: what 'near' means, as a share of ln K.

    Raises ValueError when the training starts for a model without prototypes, or a loop that counts iterations.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 1, settle_epochs: int = 1, tolerance: float = 0.01) -> None:
        if interval < 1:
            raise ValueError(f'DistillationMonitorHook: interval={interval}, must be at least 1; it counts epochs')
        if settle_epochs < 0:
            raise ValueError(f'DistillationMonitorHook: settle_epochs={settle_epochs}, must be 0 or more')
        if not 0 < tolerance < 1:
            raise ValueError(f'DistillationMonitorHook: tolerance={tolerance}, must lie in (0, 1), a share of ln K')
        self.interval = interval
        self.settle_epochs = settle_epochs
        self.tolerance = tolerance
        self._warned: set[str] = set()
        self._assignments: list[Tensor] = []
        self._labels: list[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        model = model_of(runner)
        if not hasattr(model, 'last_assignments'):
            raise ValueError(
                f'DistillationMonitorHook: {type(model).__name__} has no prototypes to watch; the hook is for '
                f'SelfDistillation, leave it out'
            )
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'DistillationMonitorHook counts epochs, but the training loop is {type(runner.train_loop).__name__}: '
                f'use train_cfg=dict(by_epoch=True, max_epochs=...)'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        self._assignments, self._labels = [], []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        labels = labels_of(data_batch)
        if labels is not None:
            self._labels.append(labels)
            self._assignments.append(model_of(runner).last_assignments)  # on the device until the epoch is over

    def after_train_epoch(self, runner: Runner) -> None:
        self._look_for_collapse(runner)
        mine = torch.cat(self._assignments).cpu() if self._assignments else torch.zeros(0, dtype=torch.long)
        labels = torch.cat(self._labels) if self._labels else torch.zeros(0, dtype=torch.long)
        self._assignments, self._labels = [], []
        gathered = all_gather_object((mine, labels))
        assignments, labels = (torch.cat(parts) for parts in zip(*gathered, strict=True))
        if len(labels) == 0:
            return
        scores = cluster_agreement(assignments, labels)
        scalars = {f'clusters/{name}': value for name, value in scores.items()}
        for name, value in scalars.items():
            runner.message_hub.update_scalar(name, value)
        runner.visualizer.add_scalars(dict(scalars, epoch=runner.epoch + 1), step=runner.iter)
        runner.logger.info(
            f'clusters({runner.epoch + 1})  NMI {scores["nmi"]:.3f}  ARI {scores["ari"]:.3f}  purity '
            f'{scores["purity"]:.3f}  ({scores["clusters"]} prototypes in use, {len(labels)} images)'
        )

    def _look_for_collapse(self, runner: Runner) -> None:
        means = {}
        for name in ('teacher_entropy', 'teacher_student_kl', 'batch_entropy'):
            logged = runner.message_hub.log_scalars.get(f'train/{name}')
            if logged is None:
                return
            means[name] = logged.mean(len(runner.train_dataloader))
        prototypes = model_of(runner).loss_function.center.numel()
        largest = math.log(prototypes)
        near = self.tolerance * largest
        seen = ', '.join(f'{name} {value:.3g}' for name, value in means.items())
        where = f'{seen} nats, ln K {largest:.3g}, means of epoch {runner.epoch + 1}'
        if means['batch_entropy'] < near:
            self._warn(
                runner,
                'one prototype',
                f'the teacher puts all images on one of {prototypes} prototypes ({where}). It is centred too little '
                f'for its sharpness: raise teacher_temp, warm it up more slowly, or lower center_momentum',
            )
        elif (
            runner.epoch >= self.settle_epochs
            and means['teacher_entropy'] > largest - near
            and means['teacher_student_kl'] < near
        ):
            self._warn(
                runner,
                'uniform',
                f'the teacher spreads every image evenly over all {prototypes} prototypes ({where}), and the '
                f'student has nothing to learn: lower teacher_temp, check the learning rate',
            )

    def _warn(self, runner: Runner, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            runner.logger.warning(f'collapse: {message}')


def labels_of(data_batch: dict | None) -> Tensor | None:
    """(B,) of a batch whose samples have one label each, else None."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    labels = [sample.get('gt_label') if hasattr(sample, 'get') else None for sample in samples or ()]
    if not labels or any(label is None or label.numel() != 1 for label in labels):
        return None
    return torch.cat([label.flatten() for label in labels])
