from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mimselfsup.engine.optim import AutocastOptimWrapper, MergedOptimWrapperConstructor
from mimselfsup.engine.schedules import adamw_cosine
from mimselfsup.models import SelfDistillation


def test_autocast_computes_in_bfloat16_and_updates_in_float32():
    model = nn.Linear(4, 4)
    before = model.weight.detach().clone()
    wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    images = torch.randn(8, 4)
    with wrapper.optim_context(model):
        output = model(images)
    assert output.dtype == torch.bfloat16
    assert model(images).dtype == torch.float32
    wrapper.update_params(output.float().pow(2).mean())
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)


@pytest.mark.parametrize('batches', [3, 4])
def test_accumulated_batches_give_the_step_of_one_large_batch(batches):
    torch.manual_seed(0)
    images = torch.randn(2 * batches, 4)
    results = []
    for accumulate in (1, batches):
        model = nn.Linear(4, 1, bias=False)
        nn.init.ones_(model.weight)
        wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=accumulate)
        wrapper.initialize_count_status(model, 0, accumulate)
        for part in images.chunk(accumulate):
            wrapper.update_params(model(part).pow(2).mean())
        results.append(model.weight.detach())
    torch.testing.assert_close(results[0], results[1])


# ---------------------------------------------------------------------------------------------- groups


@pytest.fixture(scope='module')
def distillation():
    return SelfDistillation(
        backbone=dict(
            type='MaskedViT',
            arch=dict(embed_dims=12, num_layers=1, num_heads=2, feedforward_channels=24),
            img_size=16,
            patch_size=8,
            hidden='replace',
        ),
        projector=dict(type='Projector', num_prototypes=7, hidden=8, bottleneck=4, norm_last_layer=False, norm='BN'),
        loss=dict(type='CrossViewLoss'),
        masking=dict(type='RandomMasking', mask_ratio=0.5),
    )


def test_self_distillation_decays_what_has_more_than_one_dimension_and_trains_the_student_alone(distillation):
    groups = build_optim_wrapper(distillation, adamw_cosine(1, 0, 1e-3, 256)[0]).optimizer.param_groups
    assert sorted(group['weight_decay'] for group in groups) == [0, 0.05]
    names = {id(parameter): name for name, parameter in distillation.named_parameters()}
    decay, still = (
        {names[id(each)] for group in groups if group['weight_decay'] == value for each in group['params']}
        for value in (0.05, 0)
    )
    trained = {name: each for name, each in distillation.named_parameters() if name.startswith('student.')}
    assert decay == {name for name, each in trained.items() if each.ndim > 1}
    assert still == {name for name, each in trained.items() if each.ndim == 1}
    last = 'student.projector.last_layer.parametrizations.weight'
    assert trained[f'{last}.original0'].shape == (7, 1)  # the gains
    body = 'student.backbone'
    assert decay >= {f'{body}.cls_token', f'{body}.pos_embed', f'{body}.mask_token', f'{last}.original0'}
    assert decay >= {f'{last}.original1', 'student.projector.mlp.0.weight', f'{body}.layers.0.attn.qkv.weight'}
    assert still >= {'student.projector.mlp.1.weight', f'{body}.ln1.weight', f'{body}.patch_embed.projection.bias'}


# ----------------------------------------------------------------------------------------------- fused


def on_gpus(*more: SimpleNamespace) -> SimpleNamespace:
    parameter = SimpleNamespace(is_cuda=True, is_floating_point=lambda: True)
    return SimpleNamespace(parameters=lambda: iter([parameter, *more]))


def is_fused(model, wrapper: str = 'OptimWrapper', **optimizer) -> bool:
    config = dict(type=wrapper, optimizer=dict(type='AdamW', lr=1e-3) | optimizer)
    return MergedOptimWrapperConstructor(config)._can_be_fused(model)


def test_the_step_is_fused_on_gpus_unless_the_config_decides():
    assert is_fused(on_gpus())
    assert is_fused(on_gpus(), type=torch.optim.SGD)
    assert is_fused(on_gpus(), wrapper='mimselfsup.AutocastOptimWrapper')
    assert not is_fused(nn.Linear(2, 2))
    assert not is_fused(on_gpus(SimpleNamespace(is_cuda=False, is_floating_point=lambda: True)))
    assert not is_fused(on_gpus(), fused=False)
    assert not is_fused(on_gpus(), foreach=True)
    assert not is_fused(on_gpus(), type='RMSprop')  # has no fused step
    assert not is_fused(on_gpus(), wrapper='AmpOptimWrapper')  # the loss scaler could skip a step unseen


def test_what_was_decided_reaches_the_optimizer_and_changes_nothing(monkeypatch):
    results = []
    for fused in (False, True):
        monkeypatch.setattr(MergedOptimWrapperConstructor, '_can_be_fused', lambda self, model, fused=fused: fused)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        config = adamw_cosine(1, 0, 0.1, 256)[0]
        wrapper = build_optim_wrapper(model, config)
        assert [group['fused'] for group in wrapper.optimizer.param_groups] == [fused or None] * 2
        assert 'fused' not in config['optimizer']
        for _ in range(3):
            wrapper.update_params(model(torch.ones(2, 4).cumsum(1)).pow(3).mean())
        results.append(torch.cat([each.detach().flatten() for each in model.parameters()]))
    torch.testing.assert_close(*results)
