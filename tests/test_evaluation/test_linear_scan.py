import math

import pytest
import torch
from torch import nn

from mimselfsup.evaluation.linear import hold_out
from mimselfsup.evaluation.linear_scan import DEFAULT_LRS, Heads, linear_scan, train_heads

from .test_linear import blobs


def data(count=200, **settings):
    features, labels = blobs(count, **settings)
    return features.float() / features.float().abs().max(0).values, labels


def trained_by_torch(features, labels, classes, lr, decay, epochs, batch_size, seed):
    """One head, by autograd and torch's SGD."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(features.shape[1], classes)
    head.weight.data = 0.01 * torch.randn(features.shape[1], 1, classes, generator=generator)[:, 0].T
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=1, momentum=0.9, weight_decay=decay)
    for epoch in range(epochs):
        optimizer.param_groups[0]['lr'] = lr * batch_size / 256 * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        for batch in torch.randperm(len(features), generator=generator).split(batch_size):
            loss = nn.functional.cross_entropy(head(features[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head


def test_every_head_is_what_torch_trains_alone_even_beside_one_that_diverges():
    features, labels = data(90)
    grid = [(0.3, 0.0), (3.0, 0.01), (1.0, 1e30), (0.03, 0.5)]
    heads = train_heads(features, labels, 4, grid, epochs=3, batch_size=32, seed=5)
    for place in (0, 1, 3):
        alone = trained_by_torch(features, labels, 4, *grid[place], epochs=3, batch_size=32, seed=5)
        torch.testing.assert_close(heads.weight[:, place], alone.weight.T, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(heads.bias[place], alone.bias, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(heads.logits(features)[:, place], alone(features), atol=1e-5, rtol=1e-4)
    top1 = heads.accuracies(features, labels)['top1']
    assert [math.isnan(each) for each in top1] == [False, False, True, False]


def test_standardised_heads_see_what_a_batch_norm_of_the_whole_set_gives():
    features, labels = data(64)
    norm = nn.BatchNorm1d(features.shape[1], affine=False, eps=1e-12)
    normed = norm(features)
    inside = train_heads(features, labels, 4, [(0.1, 0.0)], 2, 64, standardise=True)
    outside = train_heads(normed, labels, 4, [(0.1, 0.0)], 2, 64)
    torch.testing.assert_close(inside.weight, outside.weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(inside.logits(features), outside.logits(normed), atol=1e-4, rtol=1e-4)


def test_accuracies_by_hand():
    heads = Heads(torch.eye(6)[:, None], torch.zeros(1, 6), torch.zeros(6), torch.ones(6))
    features = torch.tensor([[6.0, 5, 4, 3, 2, 1]] * 3 + [[1.0, 2, 3, 4, 5, 6]])
    found = heads.accuracies(features, torch.tensor([0, 4, 5, 5]), chunk=3)
    assert found == dict(top1=[50.0], top5=[75.0])


def test_head_is_chosen_on_training_images_set_aside_and_not_by_those_evaluated():
    features, labels = data(360, noise=3.0)
    settings = dict(lrs=(1e-3, 1e-1, 1.0, 10.0), weight_decays=(0.0, 0.03), epochs=5)
    arguments = (features[:240], labels[:240], features[240:])
    scan = linear_scan(*arguments, labels[240:], **settings)
    aside = hold_out(labels[:240], 0.1, 0)
    assert [(head.lr, head.weight_decay) for head in scan.heads] == [
        (lr, decay) for lr in settings['lrs'] for decay in settings['weight_decays']
    ]
    assert scan.chosen.selection == max(head.selection for head in scan.heads)
    assert scan.chosen == next(head for head in scan.heads if head.selection == scan.chosen.selection)
    # The reported head has never seen what it was chosen by, nor the evaluated labels.
    grid = [(head.lr, head.weight_decay) for head in scan.heads]
    heads = train_heads(features[:240][~aside], labels[:240][~aside], 4, grid, 5)
    place = scan.heads.index(scan.chosen)
    assert scan.chosen.selection == heads.accuracies(features[:240][aside], labels[:240][aside])['top1'][place]
    assert scan.top1 == heads.accuracies(features[240:], labels[240:])['top1'][place]
    blind = linear_scan(*arguments, (labels[240:] + 1) % 4, **settings)
    assert blind.heads == scan.heads and blind.top1 != scan.top1


def test_chosen_on_val_is_the_best_on_val_of_heads_of_all_training_images():
    features, labels = data(360, noise=3.0)
    arguments = (features[:240], labels[:240], features[240:], labels[240:])
    scan = linear_scan(*arguments, lrs=(1e-3, 0.1, 1.0), weight_decays=(0.0,), epochs=4, select_on='val')
    heads = train_heads(features[:240], labels[:240], 4, [(1e-3, 0.0), (0.1, 0.0), (1.0, 0.0)], 4)
    top1 = heads.accuracies(features[240:], labels[240:])['top1']
    assert [head.selection for head in scan.heads] == top1 and scan.top1 == max(top1)


def test_edge_of_the_grid_is_noticed_and_the_default_grid_is_ibots():
    features, labels = data(200)
    scan = linear_scan(features, labels, features, labels, lrs=(1e-6, 1e-5), weight_decays=(0.0,), epochs=1)
    assert scan.at_edge
    assert len(DEFAULT_LRS) == 45 and DEFAULT_LRS[0] == 1e-4 and DEFAULT_LRS[-1] == 9.0
    assert not linear_scan(features, labels, features, labels, lrs=(0.1,), weight_decays=(0.0,), epochs=1).at_edge


def test_errors_name_what_is_wrong():
    features, labels = data(40)
    arguments = (features, labels, features, labels)
    for settings, message in (
        (dict(select_on='test'), "select_on='test'"),
        (dict(lrs=()), 'lrs='),
        (dict(lrs=(0.0,)), 'greater than 0'),
        (dict(weight_decays=(-1.0,)), 'weight_decays'),
        (dict(epochs=0), 'epochs=0'),
        (dict(lrs=(1.0,), weight_decays=(1e30,), epochs=5), 'every head diverged'),
    ):
        with pytest.raises(ValueError, match=message):
            linear_scan(*arguments, **settings)
    with pytest.raises(ValueError, match="select_on='val'"):
        linear_scan(features[:4], torch.arange(4), features, labels)
