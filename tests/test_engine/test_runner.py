"""Saving, resuming and what the hooks tell a model, on a tiny MAE in this process."""

import os
import shutil

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner as MMEngineRunner

from mimselfsup.engine import CheckpointError, CheckpointHook, Runner, TrainingProgressHook
from mimselfsup.registry import HOOKS

from .tiny import read_losses


@HOOKS.register_module(force=True)
class StopAt(Hook):
    """Ends a run as a crash would, but in this process."""

    priority = 'LOWEST'

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            raise KeyboardInterrupt


@HOOKS.register_module(force=True)
class Listen(Hook):
    """Notes progress, epoch, the mask's generator and every true step that the model is told of."""

    heard: list = []  # noqa: RUF012
    epochs: list = []  # noqa: RUF012

    def before_train(self, runner) -> None:
        type(self).heard = []
        type(self).epochs = []
        model = runner.model
        model.after_optimizer_step = lambda: self.heard.append(runner.iter)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.heard.append((runner.model.progress, torch.rand(()).item()))
        self.epochs.append(runner.model.epoch)


def crash(run, iteration, extra='', **options):
    hooks = f'\ncustom_hooks = [dict(type="StopAt", iteration={iteration})]\n'
    with pytest.raises(KeyboardInterrupt):
        run(extra + hooks, **options)


def assert_same_end(one: Runner, other: Runner) -> None:
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key]), key


WITH_WORKER = 'train_dataloader["num_workers"] = 1\n'
BY_ITERATION = 'default_hooks["checkpoint"] = dict(type="CheckpointHook", interval=3, by_epoch=False)\n'


@pytest.mark.parametrize(
    ('extra', 'stop'),
    [
        ('', 7),
        (WITH_WORKER, 7),
        (BY_ITERATION, 8),
        (BY_ITERATION.replace('=3', '=4'), 6),
        ('randomness = dict(seed=None)\n', 7),
    ],
    ids=[
        'epoch',
        'with a worker',
        'within an epoch',
        'at the last iteration of an epoch',
        'a seed drawn at random',
    ],
)
def test_a_resumed_run_is_the_run_that_was_never_stopped(run, work_dir, tmp_path, extra, stop):
    crash(run, stop, extra)
    first = read_losses(work_dir)
    assert max(first) == stop
    resumed = run(extra, resume='auto')
    if 'seed=None' in extra:  # only now is it known which run is to be repeated
        extra = f'randomness = dict(seed={resumed.base_seed})\n'
    whole = run(extra, work_dir=str(tmp_path / 'whole'))
    reference = read_losses(tmp_path / 'whole')
    assert len(reference) == 12
    assert {**first, **read_losses(work_dir)} == reference
    assert {step: reference[step] for step in first} == first
    assert_same_end(whole, resumed)
    assert len(resumed.message_hub.get_scalar('train/loss').data[0]) == 12  # averages go on as well


def test_a_batch_size_that_never_fills_is_refused(prepared):
    runner = Runner.from_cfg(prepared(cfg_options={'train_dataloader.batch_size': 64}))
    with pytest.raises(ValueError, match=r'18 samples make no batch of train_dataloader\.batch_size=64'):
        runner.train()


def test_accumulation_makes_whole_steps_and_resumes_exactly(run, work_dir, tmp_path):
    # 18 samples, 3 to a batch, 4 batches to a step: one step of 12, 6 samples are left out of each epoch.
    options = dict(accumulate=4, cfg_options={'train_dataloader.batch_size': 3, 'train_cfg.max_epochs': 3})
    extra = 'default_hooks["checkpoint"] = dict(type="CheckpointHook", interval=3, by_epoch=False)\n'
    crash(run, 7, extra, **options)
    resumed = run(extra, resume='auto', **options)
    assert resumed.iter == 12
    listen = 'custom_hooks = [dict(type="Listen", priority="VERY_HIGH")]\n'
    whole = run(extra + listen, work_dir=str(tmp_path / 'whole'), **options)
    assert [item for item in Listen.heard if isinstance(item, int)] == [3, 7, 11]
    # Saved after whole steps only: every 4 iterations, though 3 were asked for.
    assert sorted(path.name for path in work_dir.glob('iter_*.pth')) == ['iter_12.pth', 'iter_8.pth']
    assert_same_end(whole, resumed)


def test_the_model_is_told_its_progress_and_seeded_per_iteration(run):
    listen = 'custom_hooks = [dict(type="Listen", priority="LOWEST")]\n'
    run(listen)
    before = [item for item in Listen.heard if isinstance(item, tuple)]
    assert [progress for progress, _ in before] == [iteration / 12 for iteration in range(12)]
    assert len({noise for _, noise in before}) == 12
    assert [item for item in Listen.heard if isinstance(item, int)] == list(range(12))
    assert Listen.epochs == [0] * 4 + [1] * 4 + [2] * 4


def test_a_hook_that_the_config_names_itself_is_not_there_twice(run):
    # A teacher would move twice per step.
    run('custom_hooks = [dict(type="mimselfsup.TrainingProgressHook"), dict(type="Listen", priority="LOWEST")]\n')
    assert [item for item in Listen.heard if isinstance(item, int)] == list(range(12))


def test_loops_of_iterations_count_epochs_as_passes_over_the_data(run):
    loop = 'train_cfg = dict(by_epoch=False, max_iters=10)\nparam_scheduler = []\n'
    run(loop + 'custom_hooks = [dict(type="Listen", priority="LOWEST")]\n')
    assert Listen.epochs == [0] * 4 + [1] * 4 + [2] * 2


def test_a_skipped_step_is_not_reported():
    hook = TrainingProgressHook()
    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = type('Wrapper', (), dict(optimizer=torch.optim.SGD([parameter], lr=1.0)))
    calls = []
    model = type('Model', (), dict(after_optimizer_step=lambda self: calls.append(1)))()
    runner = type('Runner', (), dict(optim_wrapper=wrapper, model=model))
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)  # as when a gradient scaler found an infinity
    assert calls == []
    wrapper.optimizer.step()
    hook.after_train_iter(runner, 1)
    assert calls == [1]


def test_a_moved_work_dir_resumes_and_keeps_its_own_files(run, work_dir, tmp_path):
    crash(run, 9)
    moved = tmp_path / 'moved'
    shutil.copytree(work_dir, moved)
    kept = {path.name for path in work_dir.glob('*.pth')}
    resumed = run('', resume='auto', work_dir=str(moved))
    assert resumed.iter == 12
    assert {path.name for path in work_dir.glob('*.pth')} == kept == {'epoch_1.pth', 'epoch_2.pth'}
    assert {path.name for path in moved.glob('*.pth')} == {'epoch_2.pth', 'epoch_3.pth'}
    assert (moved / 'last_checkpoint').read_text() == 'epoch_3.pth'


def test_a_torn_checkpoint_is_passed_over(run, work_dir, capfd):
    crash(run, 11)
    torn = work_dir / 'epoch_2.pth'
    torn.write_bytes(torn.read_bytes()[:1000])
    resumed = run('', resume='auto')
    assert resumed.iter == 12
    logs = ''.join(path.read_text() for path in work_dir.glob('*/*.log'))
    assert f'skipped: checkpoint {torn} is torn' in logs
    assert f'resume from {work_dir / "epoch_1.pth"}' in logs


def test_with_one_kept_the_old_goes_after_the_new_is_complete(run, work_dir, monkeypatch):
    extra = 'default_hooks["checkpoint"] = dict(type="CheckpointHook", interval=1, max_keep_ckpts=1)\n'
    real_replace = os.replace

    def fail(source, target):
        if str(target).endswith('epoch_2.pth'):
            raise OSError('disk full')
        real_replace(source, target)

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        run(extra)
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_1.pth'}
    monkeypatch.undo()
    run(extra, resume='auto')
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_3.pth'}


def test_our_checkpoints_need_no_allow_list_and_say_what_they_are(run, work_dir):
    run()
    checkpoint = torch.load(work_dir / 'epoch_3.pth', weights_only=True)
    assert checkpoint['meta']['iter'] == 12 and checkpoint['meta']['epoch'] == 3
    assert checkpoint['meta']['data_order'] == dict(samples=18, batch_size=4, processes=1, accumulate=1)
    assert len(checkpoint['message_hub']['log_scalars']['train/loss']['values']) == 12


@pytest.mark.parametrize('kind', [Runner, MMEngineRunner])
def test_a_config_string_in_a_checkpoint_does_not_run_on_resume(prepared, run, work_dir, tmp_path, kind):
    run(cfg_options={'train_cfg.max_epochs': 1})
    path, marker = work_dir / 'epoch_1.pth', tmp_path / 'payload_ran'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = checkpoint['meta']['cfg'] = f'import os\nos.mkdir({str(marker)!r})\n'
    torch.save(checkpoint, path)
    from mimselfsup.engine import install_safe_loading

    install_safe_loading()
    runner = kind.from_cfg(prepared(resume=str(path)))
    runner.train()
    assert runner.iter == 12
    assert not marker.exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda saved: saved.pop('optimizer'), 'holds no optimizer'),
        (lambda saved: saved['state_dict'].pop('decoder.mask_token'), r'lacks decoder\.mask_token'),
        (lambda saved: saved['state_dict'].update(x=torch.ones(1)), 'is of another model'),
    ],
)
def test_what_cannot_be_continued_is_refused(run, work_dir, change, message):
    run(cfg_options={'train_cfg.max_epochs': 1})
    path = work_dir / 'epoch_1.pth'
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match=message):
        run(resume=str(path))


def test_pretrained_weights_reach_the_backbone(run, prepared, work_dir, tmp_path):
    trained = run(cfg_options={'train_cfg.max_epochs': 1})
    elsewhere = 'model["backbone"]["init_cfg"] = dict(type="Pretrained", checkpoint="https://example.org/none.pth")\n'
    runner = Runner.from_cfg(
        prepared(elsewhere, pretrained=str(work_dir / 'epoch_1.pth'), work_dir=str(tmp_path / 'second'))
    )
    # In training, weights are initialised once more.
    runner._init_model_weights()
    for key, value in trained.model.backbone.state_dict().items():
        assert torch.equal(runner.model.backbone.state_dict()[key], value), key
    assert not torch.equal(runner.model.decoder.decoder_pred.weight, trained.model.decoder.decoder_pred.weight)


def test_the_best_checkpoint_is_replaced_only_by_a_complete_one(tmp_path):
    old, new = tmp_path / 'best_old.pth', tmp_path / 'best_new.pth'
    old.write_bytes(b'old')
    hook = CheckpointHook(save_best='acc', rule='greater')
    hook.file_backend = __import__('mmengine').fileio.get_file_backend(str(tmp_path))
    hook.best_ckpt_path = str(old)
    with pytest.raises(OSError), hook._removals_at_the_end():
        hook.file_backend.remove(str(old))
        raise OSError('disk full')
    assert old.exists()
    with hook._removals_at_the_end():
        hook.file_backend.remove(str(old))
        hook.best_ckpt_path = str(new)
        new.write_bytes(b'new')
        assert old.exists()
    assert not old.exists() and new.exists()
    with hook._removals_at_the_end():  # a better score of the same epoch: same name
        hook.file_backend.remove(str(new))
    assert new.exists()


def test_unknown_arguments_of_the_checkpoint_hook_are_refused():
    with pytest.raises(ValueError, match="no argument 'intervall'"):
        CheckpointHook(intervall=1)
