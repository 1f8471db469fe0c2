"""When the monitor warns, and that its scores are those of all images of an epoch."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmpretrain.structures import DataSample

from mimselfsup.engine.hooks.distillation_monitor import DistillationMonitorHook, labels_of
from mimselfsup.evaluation.clustering import cluster_agreement

PROTOTYPES = 50
LARGEST = math.log(PROTOTYPES)
HEALTHY = dict(teacher_entropy=1.0, teacher_student_kl=0.7, batch_entropy=2.0)
ONE = dict(teacher_entropy=0.001, teacher_student_kl=0.0, batch_entropy=0.002)
UNIFORM = dict(teacher_entropy=LARGEST - 0.001, teacher_student_kl=0.001, batch_entropy=LARGEST)


class Runner:
    """As much of one as the hook sees. An epoch has two iterations."""

    def __init__(self, name: str, epochs: int = 5, kind=EpochBasedTrainLoop) -> None:
        centre = torch.zeros(1, PROTOTYPES)
        self.model = SimpleNamespace(loss_function=SimpleNamespace(center=centre), last_assignments=None)
        self.train_loop, self.train_dataloader = kind.__new__(kind), range(2)
        self.message_hub = MessageHub.get_instance(name)
        self.warnings, self.scalars = [], []
        self.logger = SimpleNamespace(warning=self.warnings.append, info=lambda text: None)
        self.visualizer = SimpleNamespace(add_scalars=lambda scalars, step: self.scalars.append((step, scalars)))
        self.max_epochs, self.epoch, self.iter = epochs, 0, 0

    def run(self, hook, values_by_epoch, batches_by_epoch=None):
        hook.before_train(self)
        for self.epoch, values in enumerate(values_by_epoch):
            hook.before_train_epoch(self)
            for index in range(2):
                for key, value in values.items():
                    self.message_hub.update_scalar(f'train/{key}', value * (0.5 + index))  # of this mean
                labels = None
                if batches_by_epoch:
                    self.model.last_assignments, labels = batches_by_epoch[self.epoch][index]
                hook.after_train_iter(self, index, batch(labels))
                self.iter += 1
            hook.after_train_epoch(self)
        return self


def batch(labels):
    if labels is None:
        return dict(inputs=None, data_samples=[DataSample(metainfo=dict(img_path='x'))])
    return dict(inputs=None, data_samples=[DataSample().set_gt_label(int(label)) for label in labels])


@pytest.fixture
def runner(request):
    return Runner(request.node.name)


# --------------------------------------------------------------------------------------------- collapse


@pytest.mark.parametrize(
    ('epochs', 'warned'),
    [
        ([HEALTHY] * 4, []),
        ([ONE, ONE, HEALTHY, ONE], ['all images on one of 50 prototypes']),
        ([UNIFORM, HEALTHY], []),  # still settling
        ([UNIFORM, UNIFORM, UNIFORM], ['evenly over all 50 prototypes']),
        ([HEALTHY, ONE, UNIFORM], ['all images on one', 'evenly over all']),
        ([HEALTHY, UNIFORM | dict(teacher_student_kl=0.5)], []),  # the student has yet to follow
        ([HEALTHY, UNIFORM | dict(teacher_entropy=0.98 * LARGEST)], []),
        ([HEALTHY, HEALTHY | dict(teacher_entropy=0.0)], []),  # sharp, on many prototypes: as it should be
        ([dict(teacher_entropy=0.0)] * 3, []),
    ],
)
def test_each_kind_of_collapse_is_told_once(runner, epochs, warned):
    runner.run(DistillationMonitorHook(), epochs)
    assert len(runner.warnings) == len(warned)
    assert all(text in warning for text, warning in zip(warned, runner.warnings, strict=True))


def test_the_mean_is_that_of_the_past_epoch_and_stands_in_the_warning(runner):
    runner.run(DistillationMonitorHook(), [HEALTHY | dict(batch_entropy=4 * LARGEST), ONE])
    assert 'batch_entropy 0.002 nats, ln K 3.91, means of epoch 2' in runner.warnings[0]


@pytest.mark.parametrize(('settings', 'count'), [(dict(settle_epochs=2), 0), (dict(tolerance=1e-5), 0), ({}, 1)])
def test_patience_and_tolerance(runner, settings, count):
    runner.run(DistillationMonitorHook(**settings), [HEALTHY, UNIFORM])
    assert len(runner.warnings) == count


# ---------------------------------------------------------------------------------------------- clusters


def labelled(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (12,), generator=generator)
    noise = torch.randint(0, PROTOTYPES, (12,), generator=generator)
    return torch.where(torch.rand(12, generator=generator) < 0.6, labels, noise), labels


EPOCHS = [[labelled(2 * epoch), labelled(2 * epoch + 1)] for epoch in range(5)]


def expected(epoch: int) -> dict[str, float]:
    assignments, labels = (torch.cat(parts) for parts in zip(*EPOCHS[epoch], strict=True))
    return {f'clusters/{name}': value for name, value in cluster_agreement(assignments, labels).items()}


def test_every_interval_and_at_the_end_all_images_of_the_epoch_are_compared(runner):
    runner.run(DistillationMonitorHook(interval=2), [HEALTHY] * 5, EPOCHS)
    assert runner.scalars == [(2 * (epoch + 1), expected(epoch) | dict(epoch=epoch + 1)) for epoch in (1, 3, 4)]
    assert 0 < expected(4)['clusters/nmi'] < 1
    for name, value in expected(4).items():
        assert runner.message_hub.get_scalar(name).current() == value


def test_without_labels_nothing_is_compared(runner):
    runner.run(DistillationMonitorHook(), [HEALTHY] * 2)
    assert runner.scalars == []


def _process(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    shares = [[tuple(part.chunk(2)[rank] for part in pair) for pair in pairs] for pairs in EPOCHS[:1]]
    runner = Runner(f'process {rank}', epochs=1).run(DistillationMonitorHook(), [HEALTHY], shares)
    torch.save(runner.scalars, f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_several_processes_compare_all_their_images(tmp_path):
    context = torch.multiprocessing.get_context('fork')
    processes = [context.Process(target=_process, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    for rank in range(2):
        ((_, found),) = torch.load(tmp_path / f'{rank}.pt')
        assert found == pytest.approx(expected(0) | dict(epoch=1))


def test_labels_of_a_batch():
    assert torch.equal(labels_of(batch([3, 1])), torch.tensor([3, 1]))
    assert labels_of(batch(None)) is None
    assert labels_of(None) is None
    several = dict(data_samples=[DataSample().set_gt_label([1, 2])])
    assert labels_of(several) is None


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(interval=0), 'interval=0, must be at least 1'),
        (dict(settle_epochs=-1), 'settle_epochs=-1, must be 0 or more'),
        (dict(tolerance=1.0), r'tolerance=1\.0, must lie in \(0, 1\)'),
    ],
)
def test_senseless_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DistillationMonitorHook(**arguments)


def test_what_cannot_be_watched_is_refused(run, request):
    with pytest.raises(ValueError, match='MaskedImageModeling has no prototypes to watch'):
        run('custom_hooks = [dict(type="DistillationMonitorHook")]\n')
    with pytest.raises(ValueError, match='the training loop is IterBasedTrainLoop'):
        Runner(request.node.name, kind=IterBasedTrainLoop).run(DistillationMonitorHook(), [])
