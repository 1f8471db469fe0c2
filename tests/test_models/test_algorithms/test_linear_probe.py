import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample

from mimselfsup.engine.checkpoint import load_pretrained
from mimselfsup.engine.schedules import lars_cosine
from mimselfsup.evaluation.features import encode_features
from mimselfsup.models import LinearProbe, MaskedSwin, MaskedViT

ARCH = dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32)
VIT = dict(type='mimselfsup.MaskedViT', arch=ARCH, img_size=16, patch_size=4)
HEAD = dict(type='LinearClsHead', num_classes=3)
IDENTITY = dict(type='ClsDataPreprocessor')


def build(backbone: dict = VIT, seed: int = 0, **kwargs) -> LinearProbe:
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        probe = LinearProbe(copy.deepcopy(backbone), head=dict(HEAD), data_preprocessor=dict(IDENTITY), **kwargs)
    probe.init_weights()
    for parameter in probe.backbone.parameters():  # norms that do something
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return probe


@pytest.fixture(scope='module')
def images():
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def labelled(count: int) -> list[DataSample]:
    return [DataSample().set_gt_label(index % 3) for index in range(count)]


def test_the_backbone_stays_bit_for_bit_while_the_head_learns(images):
    # Stochastic depth and dropout would show in the features, and decay in the weights.
    probe = build(dict(VIT, drop_path_rate=0.5, drop_rate=0.5), norm='batch')
    before = copy.deepcopy(probe.state_dict())
    wrapper = build_optim_wrapper(probe, dict(optimizer=dict(type='SGD', lr=0.5, weight_decay=0.1)))
    probe.train()
    assert probe.training and probe.norm.training and not any(each.training for each in probe.backbone.modules())
    features = [probe.extract_feat(images, 'backbone')[0] for _ in range(2)]
    assert torch.equal(*features) and not features[0].requires_grad
    losses = []
    for _ in range(20):
        loss = probe.loss(images, labelled(6))['loss']
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, value in probe.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        'head.fc.weight',
        'head.fc.bias',
        'norm.running_mean',
        'norm.running_var',
        'norm.num_batches_tracked',
    }
    optimized = [each for group in wrapper.optimizer.param_groups for each in group['params']]
    assert sum(each.requires_grad for each in optimized) == 2


@pytest.mark.parametrize(
    ('feature', 'name', 'width'),
    [
        (dict(cls=1), 'cls', 16),
        (dict(cls=4), 'cls4', 64),
        (dict(cls=1, avg=1), 'cls+avg', 32),
        (dict(avg=2), 'avg2', 32),
    ],
)
def test_the_head_is_given_the_feature_that_the_other_protocols_use(images, feature, name, width):
    probe = build(feature=feature).train()
    expected = encode_features(
        SimpleNamespace(backbone=probe.backbone, data_preprocessor=lambda batch, training: batch),
        dict(inputs=images),
        (name,),
    )[name]
    (found,) = probe.extract_feat(images)
    assert torch.equal(found, expected) and found.shape[1] == probe.head.in_channels == width
    torch.testing.assert_close(probe(images), F.linear(expected, probe.head.fc.weight, probe.head.fc.bias))


def test_the_last_blocks_are_each_normed_and_stand_in_the_order_of_the_network(images):
    probe = build(feature=dict(cls=3))
    raw = copy.deepcopy(probe.backbone)
    raw.out_type, raw.out_indices = 'raw', [1, 2, 3]
    *inner, last = [tokens[:, 0] for tokens in raw(images)]  # the last is normed already
    expected = torch.cat([*(raw.ln1(each) for each in inner), last], dim=1)
    torch.testing.assert_close(probe.extract_feat(images)[0], expected)


@pytest.mark.parametrize('feature', [dict(cls=1), dict(avg=1)])
def test_an_inner_block_is_probed_by_a_backbone_that_ends_there(tmp_path, images, feature):
    whole = build(dict(VIT, num_cls_tokens=3)).backbone.eval()
    torch.save(
        dict(state_dict={f'backbone.{key}': value for key, value in whole.state_dict().items()}), tmp_path / 'a.pth'
    )
    cut = dict(VIT, arch=dict(ARCH, num_layers=2), final_norm=False, num_cls_tokens=3)
    probe = build(cut, seed=1, feature=feature, norm='layer').eval()
    report = load_pretrained(probe, tmp_path / 'a.pth')
    assert not report.missing and {name.split('.')[1] for name in report.left_out if 'layers' in name} == {'2', '3'}
    whole.out_type, whole.out_indices = 'raw', [1]
    tokens = whole(images)[0]
    pooled = tokens[:, :3].mean(1) if 'cls' in feature else tokens[:, 3:].mean(1)
    torch.testing.assert_close(probe.extract_feat(images)[0], F.layer_norm(pooled, (16,), eps=1e-6))
    assert not list(probe.norm.parameters())


def test_batch_statistics(images):
    probe = build(norm='batch').train()
    (raw,) = probe.extract_feat(images, 'backbone')
    (found,) = probe.extract_feat(images)
    torch.testing.assert_close(found, (raw - raw.mean(0)) / (raw.var(0, correction=0) + 1e-6).sqrt())
    torch.testing.assert_close(probe.norm.running_mean, 0.1 * raw.mean(0))
    torch.testing.assert_close(probe.norm.running_var, 0.9 + 0.1 * raw.var(0))
    assert not list(probe.norm.parameters())
    probe.eval()
    expected = (raw - probe.norm.running_mean) / (probe.norm.running_var + 1e-6).sqrt()
    torch.testing.assert_close(probe.extract_feat(images)[0], expected)


def test_lars_scales_the_weight_and_leaves_the_bias_to_sgd(images):
    probe = build(norm='batch').train()
    recipe, _, _ = lars_cosine(epochs=10, warmup_epochs=0, base_lr=0.1, batch_size=16384)
    assert recipe['optimizer']['lr'] == pytest.approx(6.4)
    wrapper = build_optim_wrapper(probe, recipe)
    weight, bias = (each.detach().clone() for each in probe.head.fc.parameters())
    steps_w, steps_b = torch.zeros_like(weight), torch.zeros_like(bias)
    for _ in range(3):
        loss = probe.loss(images, labelled(6))['loss']
        grads = torch.autograd.grad(loss, list(probe.head.fc.parameters()), retain_graph=True)
        steps_w = 0.9 * steps_w + 6.4 * 0.001 * weight.norm() / grads[0].norm() * grads[0]
        steps_b = 0.9 * steps_b + 6.4 * grads[1]
        weight, bias = weight - steps_w, bias - steps_b
        wrapper.update_params(loss)
        torch.testing.assert_close(probe.head.fc.weight.detach(), weight, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(probe.head.fc.bias.detach(), bias, rtol=1e-4, atol=1e-6)


def test_swin_is_probed_on_the_mean_of_its_last_map():
    swin = dict(
        type='mimselfsup.MaskedSwin',
        arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2]),
        img_size=32,
        window_size=4,
        out_indices=(1,),
    )
    probe = build(swin, feature=dict(avg=1)).train()
    images = torch.randn(2, 3, 32, 32)
    assert isinstance(probe.backbone, MaskedSwin) and not probe.backbone.training
    torch.testing.assert_close(probe.extract_feat(images)[0], probe.backbone(images)[-1].mean((2, 3)))
    with pytest.raises(ValueError, match=r'MaskedSwin has no \[CLS\] token; set feature=dict\(avg=1\)'):
        build(swin)
    with pytest.raises(ValueError, match='MaskedSwin hands out its last block alone'):
        build(swin, feature=dict(avg=2))


def test_random_weights_are_not_probed_in_silence(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mimselfsup.models.algorithms.frozen_backbone.print_log', lambda text, **_: said.append(text))
    probe = build()
    assert len(said) == 1 and '--pretrained' in said[0]
    torch.save(MaskedViT(ARCH, img_size=16, patch_size=4).state_dict(), tmp_path / 'a.pth')
    load_pretrained(probe, tmp_path / 'a.pth')
    probe.backbone.is_init = True  # as the Runner says
    probe.init_weights()
    assert len(said) == 1


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(feature=dict(cls=0)), r'must say of how many last blocks'),
        (dict(feature=dict(mean=1)), r"of \('cls', 'avg'\)"),
        (dict(norm='instance'), r"norm='instance', must be one of"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        build(**wrong)
