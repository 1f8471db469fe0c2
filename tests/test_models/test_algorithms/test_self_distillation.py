"""The step of self-distillation against the plain order of operations, and what must not depend on what."""

import copy
import importlib.util
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mimselfsup.engine.checkpoint import backbone_prefix, load_pretrained
from mimselfsup.models.algorithms import SelfDistillation
from mimselfsup.registry import MODELS

from ..conftest import TINY, randomise
from ..test_backbones.test_masked_swin import SWIN

VIT = dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='replace')
DINO = dict(
    type='SelfDistillation',
    backbone=VIT | dict(hidden='drop'),
    projector=dict(type='Projector', num_prototypes=24, hidden=20, bottleneck=16, norm_last_layer=False),
    loss=dict(type='CrossViewLoss', teacher_temp=0.06),
)
IBOT = DINO | dict(
    backbone=VIT,
    patch_loss=dict(type='MaskedPatchLoss', teacher_temp=0.05),
    masking=dict(type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5),
)
ATTMASK = IBOT | dict(masking=dict(type='AttMask', mask_ratio=0.4), saliency=dict(type='EncoderAttention'))


def plain_module():
    path = Path(__file__).resolve().parents[3] / 'benchmarks' / 'plain_ibot.py'
    spec = importlib.util.spec_from_file_location('plain_ibot', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(config, seed=0):
    torch.manual_seed(seed)
    model = MODELS.build(copy.deepcopy(config))
    model.init_weights()
    randomise(model.student)  # and so the teacher is another network
    return model


def views(local=4, batch=6, size=32):
    generator = torch.Generator().manual_seed(5)
    sizes = [size, size] + [size // 2] * local
    return [torch.randn(batch, 3, side, side, generator=generator) for side in sizes]


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


# ------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize('local', [0, 4])
def test_losses_gradients_and_centres_equal_the_plain_order_of_operations(local):
    model = build(ATTMASK)
    model.loss_function.center.copy_(torch.randn(1, 24) / 10)
    model.patch_loss_function.center.copy_(torch.randn(1, 24) / 10)
    twin, batch = copy.deepcopy(model), views(local)

    def hide_most_attended(saliency):
        hidden = torch.zeros_like(saliency, dtype=torch.bool)
        return hidden.scatter_(1, saliency.topk(6, 1).indices, True)  # floor(0.4 * 16)

    found = model(batch, mode='loss')
    if local:
        plain = plain_module().losses(twin, batch, hide_most_attended)
        for name in ('loss_cls', 'loss_patch'):
            torch.testing.assert_close(found[name], plain[name], rtol=1e-5, atol=1e-5)
        total(found).backward()
        total(plain).backward()
        for (name, one), other in zip(model.student.named_parameters(), twin.student.parameters(), strict=True):
            torch.testing.assert_close(
                one.grad, other.grad, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f'{n}: {text}'
            )
        torch.testing.assert_close(model.loss_function.center, twin.loss_function.center)
        torch.testing.assert_close(model.patch_loss_function.center, twin.patch_loss_function.center)
    assert found['loss_cls'] > 0 and found['masked_fraction'] == 6 / 16


def test_restoration_is_the_mean_absolute_difference_over_all_pixels():
    model = build(
        DINO
        | dict(
            backbone=VIT,
            masking=dict(type='AttentionGuidedMasking', num=2, p=0.5),
            saliency=dict(type='EncoderAttention'),
            restoration=dict(type='ConvDecoder', channels=8),
            restoration_weight=0.6,
        )
    )
    batch, seen = views(), []
    model.restoration.register_forward_hook(lambda *args: seen.append(args[-1]))
    losses = model(batch, mode='loss')
    expected = 0.6 * (seen[0] - torch.cat(batch[:2])).abs().mean()
    torch.testing.assert_close(losses['loss_restoration'], expected)
    assert seen[0].shape == (12, 3, 32, 32)


def test_teacher_starts_as_the_student():
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(IBOT))
    model.init_weights()
    student, teacher = model.student.state_dict(), model.teacher.state_dict()
    assert student.keys() == teacher.keys()
    assert all(torch.equal(student[key], teacher[key]) for key in student)
    assert not model.student.backbone.mask_token.any()


def test_average_after_n_steps_is_the_closed_form():
    model, steps = build(DINO | dict(momentum=0.9)), 7
    start = [parameter.clone() for parameter in model.teacher.parameters()]
    momenta = []
    for step in range(steps):
        model.progress = step / steps
        momenta.append(1 - 0.1 * (math.cos(math.pi * step / steps) + 1) / 2)
        model.after_optimizer_step()
    kept = math.prod(momenta)  # of a student that stands still
    for first, now, student in zip(start, model.teacher.parameters(), model.student.parameters(), strict=True):
        torch.testing.assert_close(now, kept * first + (1 - kept) * student, rtol=1e-4, atol=1e-6)
    assert momenta[0] == 0.9


def test_average_leaves_buffers_alone():
    model = build(DINO | dict(projector=DINO['projector'] | dict(norm='BN')))
    model(views(), mode='loss')
    before = {name: value.clone() for name, value in model.teacher.named_buffers()}
    student = dict(model.student.named_buffers())
    model.after_optimizer_step()
    assert any(not torch.equal(before[name], student[name]) for name in before)
    assert all(torch.equal(before[name], value) for name, value in model.teacher.named_buffers())


def test_no_gradient_reaches_the_teacher():
    model = build(ATTMASK)
    total(model(views(), mode='loss')).backward()
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert all(p.grad is not None for p in model.student.parameters())


def test_the_teacher_has_no_stochastic_depth():
    model = build(DINO | dict(backbone=DINO['backbone'] | dict(drop_path_rate=0.5)))
    images = torch.randn(4, 3, 32, 32)
    assert model.teacher.training
    outputs = [model.teacher.backbone.encode(images).extra for _ in range(2)]
    assert torch.equal(*outputs)
    outputs = [model.student.backbone.encode(images).extra for _ in range(2)]
    assert not torch.equal(*outputs)


# ------------------------------------------------------------------------------------------------ masking


def test_the_masked_set_is_what_the_teacher_attends_to_most():
    model, batch, drawn = build(ATTMASK), views(), []
    draw = model.masking.__class__.__call__
    model.masking = lambda *args, **kwargs: drawn.append(draw(masking, *args, **kwargs)) or drawn[-1]
    masking = MODELS.build(copy.deepcopy(ATTMASK)).masking
    model.masking.needs_saliency, model.masking.throws = True, False
    model(batch, mode='loss')
    attention = model.teacher.backbone.encode(torch.cat(batch[:2]), cls_attention=True).cls_attention.mean(1)
    top = torch.zeros_like(attention, dtype=torch.bool).scatter_(1, attention.topk(6, 1).indices, True)
    assert torch.equal(drawn[0].masked, top)


def test_empty_masks_give_no_patch_loss_and_the_loss_of_dino():
    ibot = build(IBOT | dict(masking=dict(type='RandomMasking', mask_ratio=0.0)))
    dino = build(DINO)
    dino.load_state_dict({k: v for k, v in ibot.state_dict().items() if k in dino.state_dict()})
    batch = views()
    losses = ibot(batch, mode='loss')
    assert losses['loss_patch'] == 0
    torch.testing.assert_close(losses['loss_cls'], dino(batch, mode='loss')['loss_cls'])
    total(losses).backward()
    assert ibot.student.backbone.mask_token.grad is not None  # distributed training would wait for it


def test_masking_may_begin_later():
    model = build(IBOT | dict(masking_from_epoch=3, masking=dict(type='RandomMasking', mask_ratio=0.5)))
    model.epoch = 2
    assert model(views(), mode='loss')['masked_fraction'] == 0
    model.epoch = 3
    assert model(views(), mode='loss')['masked_fraction'] == 0.5


def test_hidden_pixels_do_not_reach_the_student():
    model, batch = build(ATTMASK), views(local=0)
    model.teacher.requires_grad_(False)
    mask = model.draw_mask(batch, model.teacher.backbone.encode(torch.cat(batch), cls_attention=True), None)
    pixels = mask.masked.view(12, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = torch.where(pixels, torch.randn(12, 3, 32, 32), torch.cat(batch))
    one, other = (model.student.backbone.encode(images, mask) for images in (torch.cat(batch), changed))
    torch.testing.assert_close(one.extra, other.extra)
    torch.testing.assert_close(one.patches, other.patches)


@pytest.mark.parametrize('throw', ['middle', 'low', 'random'])
def test_thrown_patches_change_nothing_for_the_student(throw):
    masking = dict(type='AttentionDrivenMasking', mask_ratio=0.4, throw_ratio=0.3, throw=throw)
    model = build(ATTMASK | dict(masking=masking))
    losses = model(views(), mode='loss')
    total(losses).backward()
    assert losses['loss_patch'] > 0 and losses['masked_fraction'] == 6 / 16


def test_patch_loss_with_thrown_patches_equals_the_formula():
    model, batch = (
        build(ATTMASK | dict(masking=dict(type='AttentionDrivenMasking', mask_ratio=0.4, throw_ratio=0.3))),
        views(),
    )
    seen = model.teacher.backbone.encode(torch.cat(batch[:2]), cls_attention=True)
    mask = model.draw_mask(batch, seen, None)
    tokens = model.student.backbone.encode(torch.cat(batch[:2]), mask)
    loss = model.patch_loss_function
    targets = F.softmax(model.teacher.projector.patch_logits(model.teacher.projector(seen.patches)) / 0.05, -1)
    expected = 0
    for row in range(12):
        kept = mask.kept[row].nonzero()[:, 0].tolist()
        for patch in mask.masked[row].nonzero()[:, 0].tolist():
            vector = model.student.projector(tokens.patches[row, kept.index(patch)][None])
            log = F.log_softmax(model.student.projector.patch_logits(vector)[0] / loss.student_temp, -1)
            expected -= (targets[row, patch] * log).sum() / mask.masked[row].sum() / 12
    found = model._patch_loss(tokens, mask, model._patch_targets(seen, mask))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('center_over', ['all', 'masked'])
def test_patch_centre_is_the_mean_over_all_patches_or_over_the_masked(center_over):
    model = build(ATTMASK | dict(patch_loss=dict(type='MaskedPatchLoss', center_over=center_over, center_momentum=0.8)))
    batch = views()
    seen = model.teacher.backbone.encode(torch.cat(batch[:2]), cls_attention=True)
    logits = model.teacher.projector.patch_logits(model.teacher.projector(seen.patches))
    if center_over == 'masked':
        top = seen.cls_attention.mean(1).topk(6, 1).indices
        logits = logits.gather(1, top.unsqueeze(-1).expand(-1, -1, logits.shape[-1]))
    model(batch, mode='loss')
    torch.testing.assert_close(model.patch_loss_function.center, 0.2 * logits.mean((0, 1))[None], rtol=1e-4, atol=1e-6)


def test_swin_hides_squares_of_its_output_and_scores_those():
    model = build(
        DINO
        | dict(
            backbone=dict(type='MaskedSwin', **SWIN),
            masking=dict(type='RandomMasking', mask_ratio=0.5, unit=model_cells()),
            patch_loss=dict(type='MaskedPatchLoss'),
        )
    )
    size = 2 * model.backbone.out_stride[0]
    losses = model(views(local=0, size=size), mode='loss')
    assert losses['masked_fraction'] == 0.5 and losses['loss_patch'] > 0
    total(losses).backward()


def model_cells():
    backbone = MODELS.build(dict(type='MaskedSwin', **SWIN))
    return backbone.out_stride[0] // backbone.patch_size[0]


# ------------------------------------------------------------------------------------------------ around the step


def test_statistics_know_collapse():
    model = build(DINO)
    same = torch.randn(1, 3, 32, 32).expand(6, -1, -1, -1)
    found = model([same, same], mode='loss')
    torch.testing.assert_close(found['batch_entropy'], found['teacher_entropy'])  # one distribution for all
    model.loss_function.teacher_temp = 1e6
    found = model(views(), mode='loss')
    assert found['teacher_entropy'] == pytest.approx(math.log(24), abs=1e-4)
    assert set(found) == {'loss_cls', 'teacher_entropy', 'teacher_student_kl', 'batch_entropy'}
    assert found['teacher_student_kl'] == pytest.approx((found['loss_cls'] - found['teacher_entropy']).item(), abs=1e-5)
    assert model.last_assignments.shape == (6,)


def test_what_is_evaluated_is_the_teacher():
    model, images = build(IBOT), torch.randn(2, 3, 32, 32)
    model.eval()
    assert model.backbone is model.teacher.backbone
    torch.testing.assert_close(model(images, mode='tensor'), model.teacher.backbone(images))


def test_pretrained_fills_both_networks_and_takes_the_teacher(tmp_path):
    source, model = build(IBOT, seed=3), build(IBOT)
    path = tmp_path / 'run.pth'
    torch.save(dict(state_dict=source.state_dict()), path)
    assert backbone_prefix(source.state_dict()) == 'teacher.backbone.'
    load_pretrained(model, path)
    for network in (model.student, model.teacher):
        for name, value in network.backbone.state_dict().items():
            assert torch.equal(value, source.teacher.backbone.state_dict()[name]), name


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(masking=None), 'patch_loss is taken at masked patches, but there is no masking'),
        (dict(backbone=VIT | dict(hidden='drop')), "MaskedViT drops them; set hidden='replace'"),
        (dict(patch_loss=None, masking=None), "the mask token of MaskedViT would get no gradient.*hidden='drop'"),
        (dict(masking=dict(type='AttMask'), saliency=None), 'no source of it; add saliency'),
        (dict(masking_before=dict(type='AttMask')), 'masking_before=AttMask is for the time before'),
        (dict(momentum=1.2), r'momentum=1.2, must lie in \[0, 1\]'),
        (
            dict(
                backbone=dict(type='MaskedSwin', **SWIN),
                masking=ATTMASK['masking'] | dict(type='AttentionDrivenMasking', throw_ratio=0.2),
            ),
            'throws tokens, which MaskedSwin cannot',
        ),
        (
            dict(
                masking=dict(type='AttentionDrivenMasking', mask_ratio=0.3, throw_ratio=0.2),
                restoration=dict(type='ConvDecoder'),
            ),
            'restoration needs a token for every patch',
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_built(change, message):
    with pytest.raises(ValueError, match=f'SelfDistillation: .*{message}'):
        MODELS.build(copy.deepcopy(ATTMASK | change))


def test_it_is_registered():
    assert isinstance(build(DINO), SelfDistillation)
