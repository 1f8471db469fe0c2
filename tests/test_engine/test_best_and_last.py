import json
from types import SimpleNamespace

import pytest
from mmengine.runner import EpochBasedTrainLoop

from mimselfsup.engine.hooks import BestAndLastHook


class Loop(EpochBasedTrainLoop):
    def __init__(self) -> None:
        pass


class Run:
    """A runner as far as the hook asks it."""

    def __init__(self, work_dir, epoch: int = 0) -> None:
        self.work_dir, self.epoch, self.iter = work_dir, epoch, 10 * epoch
        self.train_loop = Loop()
        self.scalars, self.lines = {}, []
        self.message_hub = SimpleNamespace(update_scalar=lambda name, value: self.scalars.update({name: value}))
        self.logger = SimpleNamespace(info=self.lines.append)
        self.hook = BestAndLastHook()
        self.hook.before_train(self)

    def validate(self, *values: float) -> None:
        for value in values:
            self.epoch += 1
            self.hook.after_val_epoch(self, {'accuracy/top1': value, 'accuracy/top5': 90.0})

    def report(self) -> dict:
        return json.loads((self.work_dir / 'validation.json').read_text())


def test_last_and_best_are_told_apart(tmp_path):
    run = Run(tmp_path)
    run.validate(30.0, 50.0, 50.0, 40.0)
    assert run.scalars == {'val/best_accuracy/top1': 50.0}
    report = run.report()
    assert report['last'] == {'epoch': 4, 'accuracy/top1': 40.0, 'accuracy/top5': 90.0}
    assert report['best']['epoch'] == 2  # of equal ones the first
    assert [each['accuracy/top1'] for each in report['epochs']] == [30, 50, 50, 40]
    run.hook.after_train(run)
    assert run.lines == ['accuracy/top1: last 40.00 (epoch 4), best 50.00 (epoch 2)']


def test_a_resumed_run_remembers_what_was_before_it_and_forgets_what_it_repeats(tmp_path):
    Run(tmp_path).validate(60.0, 20.0, 99.0)
    run = Run(tmp_path, epoch=2)  # killed in epoch 3 after its validation, resumed from the checkpoint of 2
    run.validate(30.0)
    report = run.report()
    assert (report['best']['accuracy/top1'], report['best']['epoch']) == (60, 1)
    assert [each['accuracy/top1'] for each in report['epochs']] == [60, 20, 30]
    fresh = Run(tmp_path)
    fresh.validate(10.0)
    assert fresh.report()['best']['accuracy/top1'] == 10


def test_what_it_does_not_speak_of(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(ValueError, match=r"metric='accuracy/top1', but the validation gives mIoU"):
        run.hook.after_val_epoch(run, {'mIoU': 1.0})
    alone = BestAndLastHook()
    alone.after_val_epoch(run, {'mIoU': 1.0})  # a validation without a training
    assert not (tmp_path / 'validation.json').exists()
