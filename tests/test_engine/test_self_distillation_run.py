"""Self-distillation as a whole run: killed and resumed, watched, and in several processes."""

import json

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from mimselfsup.engine import Runner
from mimselfsup.models import SelfDistillation

from . import test_runner  # noqa: F401, registers StopAt
from .tiny import write_images

IBOT = """
model = dict(
    type='SelfDistillation',
    data_preprocessor=dict(type='MultiCropPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
    backbone=dict(
        type='MaskedViT', img_size=16, patch_size=4, hidden='replace', drop_path_rate=0.1,
        arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)),
    projector=dict(type='Projector', num_prototypes=30, hidden=24, bottleneck=12, norm_last_layer=False),
    loss=dict(type='CrossViewLoss', teacher_temp=dict(start=0.04, end=0.07, epochs=2)),
    patch_loss=dict(type='MaskedPatchLoss', teacher_temp=0.05),
    masking=dict(type='AttMask', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    saliency=dict(type='EncoderAttention'),
    momentum=0.9)
train_dataloader['dataset']['pipeline'] = [
    dict(type='SeedSample'),
    dict(type='LoadImage'),
    dict(type='MultiCrop', global_size=16, local_size=8, num_local=2),
    dict(type='mmpretrain.PackInputs', meta_keys=('sample_idx', 'img_path'))]
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=2, warmup_epochs=1, base_lr=0.05, batch_size=4, weight_decay=0.04, final_weight_decay=0.4)
rules = dict(type='GradientRulesHook', clip_per_tensor=0.3, frozen=dict(last_layer=1))
custom_hooks = [rules, dict(type='DistillationMonitorHook')]
default_hooks['checkpoint'] = dict(type='CheckpointHook', interval=2, by_epoch=False)
"""
CRASH = "custom_hooks.append(dict(type='StopAt', iteration=3))\n"


def assert_equal(found, expected, name=''):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key in expected:
            assert_equal(found[key], expected[key], f'{name}.{key}')
    elif isinstance(expected, list | tuple):
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f'{name}[{place}]')
    else:
        equal = torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected
        assert equal, name


def test_a_run_killed_within_an_epoch_and_resumed_ends_with_the_same_bits(run, tmp_path):
    whole = run(IBOT, work_dir=str(tmp_path / 'whole'))
    with pytest.raises(KeyboardInterrupt):
        run(IBOT + CRASH)
    resumed = run(IBOT, resume='auto')
    log = max((tmp_path / 'run').glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()
    assert 'resumed at epoch 0, iteration 2' in log
    assert resumed.iter == whole.iter == 8

    state = whole.model.state_dict()
    assert state['loss_function.center'].abs().min() > 0 and state['patch_loss_function.center'].abs().min() > 0
    student, teacher = (state[f'{name}.projector.mlp.0.weight'] for name in ('student', 'teacher'))
    assert not torch.equal(student, teacher)
    assert_equal(resumed.model.state_dict(), state)
    assert_equal(resumed.optim_wrapper.state_dict(), whole.optim_wrapper.state_dict())
    gains = whole.model.student.projector.last_layer.parametrizations.weight.original0
    assert int(whole.optim_wrapper.optimizer.state[gains]['step']) == 4  # not in the first epoch
    watched = ('teacher_entropy', 'teacher_student_kl', 'batch_entropy', 'loss_patch', 'loss_cls')
    for name in watched:
        found, expected = (each.message_hub.get_scalar(f'train/{name}').data[0] for each in (resumed, whole))
        assert len(expected) == 8 and found.tolist() == expected.tolist()


def test_with_labels_the_prototypes_are_scored(prepared, tmp_path):
    for name in ('cats', 'dogs'):
        write_images(tmp_path / 'data' / name, count=6)
    runner = Runner.from_cfg(
        prepared(IBOT + "train_dataloader['dataset']['with_label'] = True\n", data=str(tmp_path / 'data'))
    )
    runner.train()
    text = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if 'clusters/nmi' in line]
    assert [(line['epoch'], line['step']) for line in lines] == [(1, 3), (2, 6)]
    for line in lines:
        assert 0 <= line['clusters/nmi'] <= 1 and 0.5 <= line['clusters/purity'] <= 1
        assert 1 <= line['clusters/clusters'] <= 12


# --------------------------------------------------------------------------------------------- processes


def build(center_over: str) -> SelfDistillation:
    torch.manual_seed(0)
    model = SelfDistillation(
        backbone=dict(
            type='MaskedViT',
            img_size=16,
            patch_size=4,
            hidden='replace',
            arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48),
        ),
        projector=dict(type='Projector', num_prototypes=30, hidden=24, bottleneck=12, norm_last_layer=False),
        loss=dict(type='CrossViewLoss'),
        patch_loss=dict(type='MaskedPatchLoss', center_over=center_over),
        masking=dict(type='AttMask', mask_ratio=0.4),  # the same for an image, whatever is beside it
        saliency=dict(type='EncoderAttention'),
        momentum=0.9,
    )
    model.init_weights()
    return model


def steps(center_over: str, rank: int = 0, world_size: int = 1) -> dict[str, torch.Tensor]:
    """The model after three steps on this process's part of every batch, and its centres after the first."""
    model = build(center_over)
    wrapped = MMDistributedDataParallel(model, device_ids=None) if world_size > 1 else model
    optimizer = torch.optim.SGD(model.student.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(1)
    first = {}
    for model.progress in (0.0, 0.3, 0.6):
        sizes = (16, 16, 8, 8)
        views = [torch.randn(8, 3, size, size, generator=generator).chunk(world_size)[rank] for size in sizes]
        losses = wrapped(views, None, mode='loss')
        optimizer.zero_grad()
        (losses['loss_cls'] + losses['loss_patch']).backward()
        optimizer.step()
        model.after_optimizer_step()
        if not first:
            first = {f'first {name}': buffer.clone() for name, buffer in model.named_buffers() if 'center' in name}
    return model.state_dict() | first


def _process(rank, center_over, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    torch.save(steps(center_over, rank, 2), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('center_over', ['all', 'masked'])
def test_two_processes_are_one_with_the_joined_batch(tmp_path, center_over):
    context = torch.multiprocessing.get_context('fork')
    processes = [context.Process(target=_process, args=(rank, center_over, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))
    joined = steps(center_over)
    centres = [name for name in joined if name.startswith('first ')]
    assert len(centres) == 2
    for name in centres:
        assert joined[name].abs().max() > 1e-3
        torch.testing.assert_close(first[name], joined[name], rtol=0, atol=1e-6)
    for name, value in joined.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f'{n}: {text}')


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        ("model['projector']['type'] = 'Projektor'", r"model\.projector\.type='Projektor' .*'Projector'"),
        ("model['projector']['prototypes'] = 9", r"model\.projector\.prototypes=9: .*'num_prototypes'"),
        ("model['loss']['temp'] = 1.0", r'model\.loss\.temp=1\.0: CrossViewLoss has no argument'),
        ("model['patch_loss']['center'] = 'all'", r"model\.patch_loss\.center='all': MaskedPatchLoss .*'center_over'"),
        ("model['patch_loss']['type'] = 'PatchLoss'", r"model\.patch_loss\.type='PatchLoss' .*'MaskedPatchLoss'"),
        ("model['saliency']['type'] = 'Attention'", r"model\.saliency\.type='Attention' is not a registered model"),
        ("model['masking_before'] = dict(type='AtMask')", r"masking_before\.type='AtMask' .*'AttMask'"),
        ("model['restoration'] = dict(type='ConvDecodr')", r"model\.restoration\.type='ConvDecodr'"),
        ("rules['frozen'] = dict(last_layr=1)", r'no trained parameter of SelfDistillation has'),
        ("optim_wrapper['clip_grad'] = dict(max_norm=1.0)", r'set one of the two to None'),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(run, extra, message):
    with pytest.raises(ValueError, match=message):
        run(IBOT + extra + '\n')
