import copy
import math

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from mimselfsup.engine.schedules import adamw_cosine, adamw_layer_decay, adamw_step, lars_cosine, sgd_cosine
from mimselfsup.models import MaskedViT
from mimselfsup.registry import HOOKS

from . import test_runner  # noqa: F401, registers StopAt

ITERATIONS = 10  # per epoch


def rates(recipe, epochs: int) -> list[float]:
    """The learning rate of every iteration, as MMEngine's schedulers set it."""
    return [groups[0]['lr'] for groups in settings(recipe, epochs)]


def settings(recipe, epochs: int, model: nn.Module | None = None) -> list[list[dict]]:
    """The rate and the decay of each parameter group at every iteration."""
    wrapper, schedulers, _ = recipe
    optimizer = build_optim_wrapper(model or nn.Linear(1, 1, bias=False), copy.deepcopy(wrapper))
    built = []
    for scheduler in schedulers:
        scheduler = dict(scheduler)
        if scheduler.pop('convert_to_iter_based', False):
            kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
            built.append(kind.build_iter_from_epoch(optimizer=optimizer, epoch_length=ITERATIONS, **scheduler))
        else:
            built.append(PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optimizer)))
    values = []
    for iteration in range(epochs * ITERATIONS):
        groups = optimizer.optimizer.param_groups
        values.append([{key: group[key] for key in ('lr', 'weight_decay')} for group in groups])
        optimizer.step()
        for scheduler in built:
            if not scheduler.by_epoch or (iteration + 1) % ITERATIONS == 0:
                scheduler.step()
    return values


def mae_rate(iteration: int, epochs: int, warmup: int, lr: float, min_lr: float) -> float:
    """facebookresearch/mae, adjust_learning_rate, at the fractional epoch."""
    epoch = iteration / ITERATIONS
    if epoch < warmup:
        return lr * epoch / warmup
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))


def test_cosine_equals_the_published_schedule():
    found = rates(adamw_cosine(20, 4, base_lr=1.5e-4, batch_size=4096, min_lr=1e-6), 20)
    lr, least = 2.4e-3, 1.6e-5
    for iteration in (40, 41, 77, 120, 199):
        assert found[iteration] == pytest.approx(mae_rate(iteration, 20, 4, lr, least), rel=1e-9)
    for iteration in range(40):  # MMEngine's warm-up ends one iteration early
        assert found[iteration] == pytest.approx(lr * iteration / 39, abs=2e-6 * lr)
        assert abs(found[iteration] - mae_rate(iteration, 20, 4, lr, least)) <= lr / 39


def test_warmup_can_start_above_zero_and_be_left_out():
    found = rates(adamw_cosine(4, 2, base_lr=1e-3, batch_size=256, warmup_lr=1e-4), 4)
    assert found[0] == pytest.approx(1e-4) and found[19] == pytest.approx(1e-3)
    found = rates(adamw_cosine(4, 0, base_lr=1e-3, batch_size=512), 4)
    assert found[0] == pytest.approx(2e-3) and found[20] == pytest.approx(1e-3)


def test_step_drops_at_the_milestone():
    found = rates(adamw_step(10, 2, [7], base_lr=1e-4, batch_size=2048, warmup_lr=5e-7), 10)
    assert found[0] == pytest.approx(2e-6) and found[19] == pytest.approx(4e-4)
    assert found[69] == pytest.approx(4e-4) and found[70] == pytest.approx(4e-5) and found[99] == found[70]


def decay(iteration: int, start: float, end: float, total: int) -> float:
    """DINO's schedule, methods and code: no warm-up, the end is never quite reached."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * iteration / total))


def test_the_decay_follows_its_cosine_at_every_iteration_and_zero_stays_zero():
    recipe = adamw_cosine(8, 2, base_lr=5e-4, batch_size=512, weight_decay=0.04, final_weight_decay=0.4, min_lr=1e-6)
    found = settings(recipe, 8, nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)))
    assert len(found) == 80 and all(len(groups) == 2 for groups in found)
    for iteration, (decaying, still) in enumerate(found):
        assert decaying['weight_decay'] == pytest.approx(decay(iteration, 0.04, 0.4, 80), rel=1e-12)
        assert still['weight_decay'] == 0
        assert decaying['lr'] == still['lr']
    assert found[0][0]['weight_decay'] == 0.04 and found[-1][0]['weight_decay'] < 0.4
    without = rates(adamw_cosine(8, 2, base_lr=5e-4, batch_size=512, min_lr=1e-6), 8)
    assert [groups[0]['lr'] for groups in found] == without
    for iteration in range(20):  # the published warm-up, both ends included
        assert without[iteration] == pytest.approx(1e-3 * iteration / 19, abs=1e-6 * 1e-3)
    assert without[19] == without[20] == pytest.approx(1e-3)


def test_the_decay_can_fall_and_groups_keep_their_factors():
    paramwise = dict(bias_decay_mult=0.0, custom_keys={'0': dict(decay_mult=0.5)})
    recipe = adamw_cosine(2, 0, 1e-3, 256, weight_decay=0.2, final_weight_decay=0.0, paramwise_cfg=paramwise)
    for iteration, groups in enumerate(settings(recipe, 2, nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))):
        whole = decay(iteration, 0.2, 0.0, 20)
        assert sorted(group['weight_decay'] for group in groups) == pytest.approx([0, whole / 2, whole])


@pytest.mark.parametrize(('start', 'end'), [(0.0, 0.4), (0.04, -0.1)])
def test_an_impossible_decay_is_refused(start, end):
    with pytest.raises(ValueError, match=f'final_weight_decay={end} with weight_decay={start}'):
        adamw_cosine(2, 0, 1e-3, 256, weight_decay=start, final_weight_decay=end)


@HOOKS.register_module(force=True)
class NoteSettings(Hook):
    """Rate and decay of each group, by iteration."""

    notes: dict = {}  # noqa: RUF012

    def before_train(self, runner) -> None:
        type(self).notes = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        groups = runner.optim_wrapper.optimizer.param_groups
        self.notes[runner.iter] = [(group['lr'], group['weight_decay']) for group in groups]


SCHEDULED = """
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=3, warmup_epochs=1, base_lr=0.05, batch_size=4, weight_decay=0.04, final_weight_decay=0.4)
default_hooks['checkpoint'] = dict(type='CheckpointHook', interval=1, by_epoch=False)
auto_scale_lr = dict(base_batch_size=8)
"""


def test_a_resumed_run_continues_rate_and_decay_exactly(run, tmp_path):
    run(SCHEDULED + "custom_hooks = [dict(type='NoteSettings')]\n", work_dir=str(tmp_path / 'whole'))
    whole = NoteSettings.notes
    assert sorted(whole) == list(range(12)) and len(whole[0]) == 2
    for iteration, groups in whole.items():
        assert sorted(each[1] for each in groups) == pytest.approx([0, decay(iteration, 0.04, 0.4, 12)])
    with pytest.raises(KeyboardInterrupt):
        run(SCHEDULED + "custom_hooks = [dict(type='StopAt', iteration=3)]\n")
    run(SCHEDULED + "custom_hooks = [dict(type='NoteSettings')]\n", resume='auto')
    assert NoteSettings.notes == {iteration: whole[iteration] for iteration in range(3, 12)}


def test_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match=r'warmup_epochs=30, must lie in \[0, 20\]'):
        adamw_cosine(20, 30, 1e-4, 256)
    with pytest.raises(ValueError, match=r'\[1, 20\] do not lie in \[2, 20\)'):
        adamw_step(20, 2, [1, 20], 1e-4, 256)


def test_norms_and_biases_do_not_decay_and_groups_are_merged():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 2))
    wrapper = build_optim_wrapper(model, adamw_cosine(1, 0, 1e-3, 256)[0])
    groups = wrapper.optimizer.param_groups
    assert len(groups) == 2
    decaying = {id(p) for g in groups if g['weight_decay'] == 0.05 for p in g['params']}
    still = {id(p) for g in groups if g['weight_decay'] == 0 for p in g['params']}
    assert decaying == {id(p) for p in model.parameters() if p.ndim > 1}
    assert still == {id(p) for p in model.parameters() if p.ndim == 1}


def test_custom_rates_keep_their_own_group():
    model = nn.ModuleDict(dict(body=nn.Linear(2, 2), head=nn.Linear(2, 2)))
    recipe = adamw_cosine(1, 0, 1e-3, 256, paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10))))
    groups = build_optim_wrapper(model, recipe[0]).optimizer.param_groups
    assert sorted((group['lr'], len(group['params'])) for group in groups) == [(1e-3, 2), (1e-2, 2)]


def test_a_config_that_uses_it_can_be_written_and_read_again(tmp_path):
    path = tmp_path / 'recipe.py'
    path.write_text(
        '_base_ = []\n'
        'from mimselfsup.engine.schedules import adamw_cosine\n'
        'optim_wrapper, param_scheduler, train_cfg = adamw_cosine(\n'
        '    epochs=8, warmup_epochs=2, base_lr=1e-3, batch_size=64, clip_grad=1.0, accumulate=2,\n'
        '    final_weight_decay=0.4)\n'
    )
    cfg = Config.fromfile(path)
    assert set(cfg) == {'optim_wrapper', 'param_scheduler', 'train_cfg'}
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1.0)
    assert cfg.optim_wrapper.accumulative_counts == 2


# ------------------------------------------------------------------------------------ probes and fine-tuning


def test_sgd_moves_once_per_epoch_as_dinos_probe_does():
    recipe = sgd_cosine(8, base_lr=1e-3, batch_size=1024)
    found = rates(recipe, 8)
    for epoch in range(8):
        expected = 4e-3 * 0.5 * (1 + math.cos(math.pi * epoch / 8))
        assert found[epoch * ITERATIONS : (epoch + 1) * ITERATIONS] == pytest.approx([expected] * ITERATIONS)
    optimizer = recipe[0]['optimizer']
    assert (optimizer['momentum'], optimizer['weight_decay'], recipe[2]['max_epochs']) == (0.9, 0, 8)


def test_lars_equals_the_published_schedule():
    found = rates(lars_cosine(20, 4, base_lr=0.1, batch_size=16384), 20)
    for iteration in (40, 41, 77, 120, 199):
        assert found[iteration] == pytest.approx(mae_rate(iteration, 20, 4, 6.4, 0), rel=1e-9)


def test_every_layer_keeps_its_share_of_the_rate_from_the_first_iteration_to_the_last():
    arch = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)
    model = nn.Module()
    model.backbone, model.head = MaskedViT(arch, img_size=8, patch_size=4), nn.Linear(8, 2)
    recipe = adamw_layer_decay(
        20, 4, base_lr=5e-4, batch_size=1024, layer_decay=0.5, min_lr=1e-6, warmup_lr=1e-4, clip_grad=5.0, accumulate=2
    )
    found = settings(recipe, 20, model)
    for iteration in (40, 41, 77, 120, 199):
        head = mae_rate(iteration, 20, 4, 2e-3, 1e-6)
        expected = sorted({head * 0.5**step for step in range(4)})
        assert sorted({group['lr'] for group in found[iteration]}) == pytest.approx(expected, rel=1e-9)
    assert max(group['lr'] for group in found[0]) == pytest.approx(1e-4)
    assert {group['weight_decay'] for group in found[0]} == {0.05, 0}
    wrapper = recipe[0]
    assert wrapper['optimizer']['betas'] == (0.9, 0.999)
    assert (wrapper['clip_grad'], wrapper['accumulative_counts']) == (dict(max_norm=5.0), 2)
