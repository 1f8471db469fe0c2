"""Logged values are read late, and are the same as those that MMEngine reads at once."""

import json

import numpy as np
import pytest
import torch
from mmengine.hooks import RuntimeInfoHook

from mimselfsup.engine import Runner
from mimselfsup.engine.hooks.runtime_info import DeferredRuntimeInfoHook, on_host
from mimselfsup.models import MaskedImageModeling

SLOW_LOG = "default_hooks['logger'] = dict(type='LoggerHook', interval=3)\nlog_processor = dict(window_size=2)\n"
BY_ITERATION = "default_hooks['checkpoint'] = dict(type='CheckpointHook', interval=2, by_epoch=False)\n"


def logged(work_dir) -> list[dict]:
    text = ''.join(path.read_text() for path in work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in line.items() if 'time' not in key and key != 'memory'} for line in lines]


@pytest.fixture
def without_it(monkeypatch):
    """Runs keep MMEngine's hook."""
    original = Runner.register_hook

    def keep(self, hook, priority=None):
        replaced = isinstance(hook, dict) and hook['type'] is DeferredRuntimeInfoHook
        original(self, dict(type=RuntimeInfoHook) if replaced else hook, priority)

    with monkeypatch.context() as patch:
        yield lambda: patch.setattr(Runner, 'register_hook', keep)


def test_logs_and_hub_hold_what_mmengine_would_have_put_there(run, tmp_path, without_it):
    found = run(SLOW_LOG, work_dir=str(tmp_path / 'deferred'))
    assert any(isinstance(hook, DeferredRuntimeInfoHook) for hook in found.hooks)
    without_it()
    expected = run(SLOW_LOG, work_dir=str(tmp_path / 'plain'))
    assert not any(isinstance(hook, DeferredRuntimeInfoHook) for hook in expected.hooks)
    assert logged(tmp_path / 'deferred') == logged(tmp_path / 'plain')
    assert len(logged(tmp_path / 'plain')) == 3  # iterations 3, 7, 11
    for name, buffer in expected.message_hub.log_scalars.items():
        if 'time' not in name:
            np.testing.assert_array_equal(found.message_hub.get_scalar(name).data[0], buffer.data[0], err_msg=name)
    assert len(found.message_hub.get_scalar('train/loss').data[0]) == 12


def test_between_looks_nothing_is_read(run, monkeypatch):
    reads = []
    original = DeferredRuntimeInfoHook._read
    monkeypatch.setattr(
        DeferredRuntimeInfoHook,
        '_read',
        lambda self, runner: (reads.append((runner.iter + 1, len(self._unread))), original(self, runner)),
    )
    run(SLOW_LOG)
    assert reads == [(3, 3), (4, 1), (7, 3), (8, 1), (11, 3), (12, 1)]  # each third of an epoch, and its end


def test_a_checkpoint_between_two_looks_has_all_values(run, work_dir):
    run(SLOW_LOG + BY_ITERATION)
    saved = torch.load(work_dir / 'iter_10.pth', weights_only=True)['message_hub']['log_scalars']
    assert len(saved['train/loss']['values']) == len(saved['train/lr']['values']) == 10


def test_what_is_left_at_the_end_of_a_loop_of_iterations_is_read(run):
    runner = run(SLOW_LOG + 'train_cfg = dict(by_epoch=False, max_iters=5)\nparam_scheduler = []\n')
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 5


def diverging(at: int, value: float):
    """MAE, but for the loss at one iteration."""
    original, calls = MaskedImageModeling.loss, []

    def loss(self, *arguments):
        calls.append(1)
        losses = original(self, *arguments)
        return dict(losses, loss_other=losses['loss_reconstruction'] * (value if len(calls) == at else 0.0))

    return loss


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_no_number_ends_the_run_before_anything_is_saved(run, work_dir, monkeypatch, value):
    monkeypatch.setattr(MaskedImageModeling, 'loss', diverging(5, value))
    with pytest.raises(ValueError, match=rf'diverged: loss={value}.*loss_other={value} at iteration 5\. Resume from'):
        run(SLOW_LOG + BY_ITERATION)
    assert {path.name for path in work_dir.glob('*.pth')} == {'iter_2.pth', 'iter_4.pth'}


def test_other_values_may_be_no_numbers(run, monkeypatch):
    original = MaskedImageModeling.loss
    monkeypatch.setattr(
        MaskedImageModeling,
        'loss',
        lambda self, *arguments: dict(original(self, *arguments), accuracy=torch.tensor(float('nan'))),
    )
    assert run(cfg_options={'train_cfg.max_epochs': 1}).iter == 4


def test_numbers_of_any_type_come_back_in_order():
    tensors = [torch.tensor(1 / 3), torch.tensor([2**40 + 1]), torch.tensor(0.1, dtype=torch.bfloat16)]
    tensors += [torch.tensor(2 / 3), torch.tensor(1 / 7, dtype=torch.float64)]
    assert on_host(tensors) == [tensor.item() for tensor in tensors]
    assert on_host([]) == []
