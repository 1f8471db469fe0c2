import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mimselfsup.models.necks import Projector


def build(**settings):
    torch.manual_seed(0)
    projector = Projector(12, **dict(num_prototypes=9, hidden=10, bottleneck=6) | settings)
    projector.init_weights()
    with torch.no_grad():
        for parameter in projector.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return projector


def running(projector):
    return [norm.running_mean.clone() for norm in projector.mlp if isinstance(norm, nn.BatchNorm1d)]


def test_logits_are_gains_times_cosines():
    projector, x = build(norm_last_layer=False), torch.randn(5, 12)
    weights = dict(projector.state_dict())
    hidden = x
    for place in (0, 2):
        hidden = F.gelu(hidden @ weights[f'mlp.{place}.weight'].T + weights[f'mlp.{place}.bias'])
    hidden = hidden @ weights['mlp.4.weight'].T + weights['mlp.4.bias']
    gains = weights['last_layer.parametrizations.weight.original0'][:, 0]
    directions = weights['last_layer.parametrizations.weight.original1']
    cosines = F.cosine_similarity(hidden[:, None], directions[None], dim=-1)
    torch.testing.assert_close(projector.logits(projector(x)), gains * cosines, rtol=1e-5, atol=1e-6)


def test_gains_start_at_one_and_train_only_when_they_may():
    for norm in (True, False):
        gains = Projector(12, 9, norm_last_layer=norm).last_layer.parametrizations.weight.original0
        assert gains.shape == (9, 1) and torch.equal(gains, torch.ones_like(gains))
        assert gains.requires_grad is not norm


def test_initialisation():
    torch.manual_seed(0)
    projector = Projector(384, 4096)
    projector.init_weights()
    for layer in (0, 2, 4):
        assert projector.mlp[layer].weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not projector.mlp[layer].bias.any()
    directions = projector.last_layer.parametrizations.weight.original1
    assert directions.abs().max() <= 256**-0.5  # a linear layer's own
    assert projector.last_layer.bias is None


def test_at_the_start_the_loss_is_ln_k():
    from mimselfsup.models.losses import CrossViewLoss

    torch.manual_seed(0)
    projector = Projector(384, 8192)
    projector.init_weights()
    logits = projector.logits(projector(torch.randn(16, 384)))
    loss = CrossViewLoss(8192)
    assert loss(logits, loss.targets(logits, 0)).item() == pytest.approx(9.01, abs=0.35)


def test_sum_of_patch_logits_without_the_logits():
    for settings in (dict(), dict(patch_prototypes=7)):
        projector = build(**settings)
        vectors = projector(torch.randn(30, 12))
        expected = projector.patch_logits(vectors).sum(0)
        torch.testing.assert_close(projector.summed_patch_logits(vectors), expected, rtol=1e-5, atol=1e-5)


def test_patches_share_the_prototypes_unless_they_have_their_own():
    vectors = F.normalize(torch.randn(3, 6), dim=-1)
    shared, own = build(), build(patch_prototypes=7)
    assert torch.equal(shared.logits(vectors), shared.patch_logits(vectors))
    assert own.patch_logits(vectors).shape == (3, 7) and own.num_patch_prototypes == 7
    assert 'patch_last_layer.parametrizations.weight.original0' in own.state_dict()  # a name that freezing matches


def test_each_global_view_is_a_batch_of_its_own():
    projector, views = build(norm='BN'), torch.randn(2, 8, 12) * torch.tensor([1.0, 5.0]).view(2, 1, 1)
    start = {key: value.clone() for key, value in projector.state_dict().items()}
    found = projector(views.flatten(0, 1), views=2)
    after = running(projector)
    projector.load_state_dict(start)
    expected = torch.cat([projector(views[0]), projector(views[1])])
    assert torch.equal(found, expected)
    for one, other in zip(after, running(projector), strict=True):
        assert torch.equal(one, other)


def test_local_views_are_normalised_by_the_running_statistics_of_the_global_ones():
    projector = build(norm='BN')
    images, local = torch.randn(8, 12), 3 * torch.randn(20, 12) + 1
    found = projector(images, 2, local)[8:]
    after = running(projector)
    assert projector.mlp[1].num_batches_tracked == 2  # two global views, no local one
    projector.eval()
    torch.testing.assert_close(found, projector(local))
    assert all(torch.equal(a, b) for a, b in zip(after, running(projector), strict=True))
    assert not projector.training
    projector.train()
    grad = torch.autograd.grad(projector(images, 2, local)[8:].sum(), projector.mlp[0].weight)[0]
    assert grad.abs().sum() > 0


def test_local_views_by_their_own_statistics_leave_no_trace():
    projector = build(norm='BN', local_bn='batch')
    images, local = torch.randn(8, 12), 3 * torch.randn(20, 12) + 1
    start = {key: value.clone() for key, value in projector.state_dict().items()}
    found = projector(images, 2, local)[8:]
    after = running(projector)
    projector.load_state_dict(start)
    projector(images, 2)
    assert all(torch.equal(a, b) for a, b in zip(after, running(projector), strict=True))
    torch.testing.assert_close(found, projector(local))
    assert projector.mlp[1].momentum == 0.1


def test_ordinary_batch_norm_sees_all_views_at_once():
    projector = build(norm='BN', local_bn='joint')
    images, local = torch.randn(8, 12), torch.randn(20, 12)
    start = {key: value.clone() for key, value in projector.state_dict().items()}
    found = projector(images, 2, local)
    projector.load_state_dict(start)
    assert torch.equal(found, F.normalize(projector.mlp(torch.cat([images, local])), dim=-1))
    projector.load_state_dict(start)
    without_local = projector(images, 2)  # as in the teacher
    projector.load_state_dict(start)
    assert torch.equal(without_local, F.normalize(projector.mlp(images), dim=-1))


def test_without_norm_rows_do_not_know_of_each_other():
    projector, x = build(), torch.randn(8, 12)
    torch.testing.assert_close(projector(x[:4], 2, x[4:]), torch.cat([projector(row[None]) for row in x]))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(norm='LN'), "norm='LN', must be one of"),
        (dict(local_bn='eval'), "local_bn='eval', must be one of"),
        (dict(num_prototypes=0), 'num_prototypes=0, must be at least 1'),
        (dict(num_layers=0), 'num_layers=0, must be at least 1'),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f'Projector: {message}'):
        Projector(12, **settings)
