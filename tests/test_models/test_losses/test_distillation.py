import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mimselfsup.models.losses import distillation
from mimselfsup.models.losses.distillation import CrossViewLoss, MaskedPatchLoss, cross_entropy, entropy, warmed_up


def test_temperature_warms_up_as_linspace():
    rule = dict(start=0.04, end=0.07, epochs=30)
    expected = [*np.linspace(0.04, 0.07, 30), 0.07, 0.07]
    assert [warmed_up(rule, epoch) for epoch in range(32)] == pytest.approx(expected, abs=1e-12)
    assert warmed_up(dict(start=0.04, end=0.07, epochs=1), 0) == 0.07
    assert warmed_up(0.05, 7) == 0.05
    assert warmed_up(rule, -3) == 0.04  # patches whose masking has not begun


def test_cross_entropy_is_that_of_log_softmax():
    targets, logits = torch.rand(5, 7).softmax(-1), 9 * torch.randn(5, 7)
    expected = -(targets * F.log_softmax(logits, -1)).sum(-1)
    torch.testing.assert_close(cross_entropy(targets, logits), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cross_entropy(2 * targets, logits, 2), 2 * expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('together', [2**24, 14])  # all rows at once, and two by two
def test_cross_entropy_has_the_gradient_that_finite_differences_give(together, monkeypatch):
    monkeypatch.setattr(distillation, '_TOGETHER', together)
    targets, logits = torch.rand(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    targets = 2 * targets / targets.sum(-1, keepdim=True)
    torch.autograd.gradcheck(lambda given: cross_entropy(targets, given, 2, 0.3), logits)
    expected = -(targets * F.log_softmax(logits / 0.3, -1)).sum(-1)
    torch.testing.assert_close(cross_entropy(targets, logits, 2, 0.3), expected)


def test_cross_entropy_of_half_precision_is_taken_in_single_and_keeps_only_what_it_got():
    targets, logits = torch.rand(5, 7).softmax(-1), torch.randn(5, 7).bfloat16().requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        found = cross_entropy(targets, logits, temperature=0.1)
    twin = logits.detach().float().requires_grad_()
    plain = -(targets * F.log_softmax(twin / 0.1, -1)).sum(-1)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    assert sorted(tensor.dtype.itemsize * tensor.numel() for tensor in kept) == [4 * 5, 2 * 35, 4 * 35]
    found.sum().backward()
    plain.sum().backward()
    torch.testing.assert_close(logits.grad.float(), twin.grad, rtol=2**-8, atol=1e-6)  # rounded once


def test_entropy_of_certainty_is_zero_and_of_ignorance_ln_k():
    found = entropy(torch.stack([torch.eye(8)[3], torch.full((8,), 1 / 8)]))
    torch.testing.assert_close(found, torch.tensor([0.0, math.log(8)]))


@pytest.mark.parametrize('num_local', [0, 3])
def test_every_pair_of_different_views_counts_once(num_local):
    batch, prototypes, views = 4, 6, 2 + num_local
    loss = CrossViewLoss(prototypes, student_temp=0.2, teacher_temp=0.05)
    loss.center.copy_(torch.randn(1, prototypes))
    student = torch.randn(views, batch, prototypes)
    teacher = torch.randn(2, batch, prototypes)
    total, terms = 0.0, 0
    for i in range(2):
        target = F.softmax((teacher[i] - loss.center) / 0.05, -1)
        for j in range(views):
            if j != i:
                total += -(target * F.log_softmax(student[j] / 0.2, -1)).sum(-1).mean()
                terms += 1
    assert terms == 2 * (views - 1)
    found = loss(student.flatten(0, 1), loss.targets(teacher.flatten(0, 1), epoch=0))
    torch.testing.assert_close(found, total / terms, rtol=1e-5, atol=1e-5)


def test_gradient_is_that_of_the_plain_formula():
    student = torch.randn(4 * 3, 6, requires_grad=True)
    targets = torch.randn(8, 6).softmax(-1)
    (found,) = torch.autograd.grad(CrossViewLoss(6)(torch.cat([student, student[:4]]), targets), student)
    views = torch.cat([student, student[:4]]).split(4)
    first, second = targets.chunk(2)
    pairs = [(second, views[0]), (first, views[1]), *((t, v) for v in views[2:] for t in (first, second))]
    plain = sum(-(t * F.log_softmax(v / 0.1, -1)).sum(-1).mean() for t, v in pairs) / 6
    torch.testing.assert_close(found, torch.autograd.grad(plain, student)[0], rtol=1e-4, atol=1e-6)


def test_center_follows_the_mean_by_its_momentum():
    loss = CrossViewLoss(3, center_momentum=0.9)
    logits = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 7.0]])
    for _ in range(5):
        loss.update_center(logits.sum(0), 2)
    torch.testing.assert_close(loss.center, (1 - 0.9**5) * torch.tensor([[2.0, 2.0, 5.0]]))
    before = loss.center.clone()
    loss.update_center(torch.zeros(3), 0)  # a batch without masked patches
    assert torch.equal(loss.center, before)


def test_targets_are_float32_and_centred_before_they_are_sharpened():
    loss = CrossViewLoss(3, teacher_temp=dict(start=0.5, end=1.0, epochs=2))
    loss.center.copy_(torch.tensor([[0.0, 1.0, 0.0]]))
    logits = torch.tensor([[1.0, 2.0, 0.0]], dtype=torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = loss.targets(logits, epoch=0)
    torch.testing.assert_close(found, torch.tensor([[2.0, 2.0, 0.0]]).softmax(-1))
    torch.testing.assert_close(loss.targets(logits, epoch=1), torch.tensor([[1.0, 1.0, 0.0]]).softmax(-1))


def test_patch_loss_is_a_mean_over_all_rows_of_means_over_masked_patches():
    rows, patches, prototypes = 4, 6, 5
    loss = MaskedPatchLoss(prototypes, student_temp=0.3, teacher_temp=0.2)
    masked = torch.tensor([[1, 1, 0, 0, 1, 0], [0] * 6, [0, 0, 0, 0, 0, 1], [1] * 6]).bool()
    student, teacher = torch.randn(2, rows, patches, prototypes)
    each = -(F.softmax(teacher / 0.2, -1) * F.log_softmax(student / 0.3, -1)).sum(-1)
    expected = sum((each[r][masked[r]]).sum() / max(1, int(masked[r].sum())) for r in range(rows)) / rows
    where = masked.nonzero()[:, 0]
    found = loss(student[masked], loss.targets(teacher[masked], 0), where, masked.sum(1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_patch_loss_without_a_masked_patch_is_zero_and_keeps_the_graph():
    loss = MaskedPatchLoss(5)
    student = torch.randn(0, 5, requires_grad=True)
    found = loss(student, torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), torch.zeros(3, dtype=torch.long))
    assert found == 0 and found.requires_grad


def test_patch_temperature_waits_for_the_first_masked_epoch():
    loss = MaskedPatchLoss(2, teacher_temp=dict(start=0.1, end=0.3, epochs=3), start_epoch=10)
    logits = torch.tensor([[1.0, 0.0]])
    for epoch, temperature in ((0, 0.1), (10, 0.1), (11, 0.2), (12, 0.3), (20, 0.3)):
        torch.testing.assert_close(loss.targets(logits, epoch), (logits / temperature).softmax(-1))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(teacher_temp=0.0), 'above 0'),
        (dict(student_temp=-1.0), 'above 0'),
        (dict(center_momentum=1.5), r'center_momentum=1.5, must lie in \[0, 1\]'),
        (dict(teacher_temp=dict(start=0.1, end=0.2)), r'dict\(start=..., end=..., epochs=...\)'),
        (dict(teacher_temp=dict(start=0.1, end=0.2, epochs=0)), 'at least 1 epoch'),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    for kind in (CrossViewLoss, MaskedPatchLoss):
        with pytest.raises(ValueError, match=f'{kind.__name__}: .*{message}'):
            kind(8, **settings)
    with pytest.raises(ValueError, match="center_over='some', must be 'all' or 'masked'"):
        MaskedPatchLoss(8, center_over='some')
