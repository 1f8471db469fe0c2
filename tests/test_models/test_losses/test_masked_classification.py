import math

import torch

from mimselfsup.models.losses import MaskedClassificationLoss


def test_mean_over_masked_patches_of_minus_log_softmax():
    logits = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 7, (3, 5))
    expected = 0.0
    for row in range(3):
        for patch in range(5):
            values = [math.exp(value) for value in logits[row, patch].tolist()]
            expected -= math.log(values[target[row, patch]] / sum(values)) / 15
    loss = MaskedClassificationLoss()(logits, target)
    assert abs(loss.item() - expected) < 1e-12


def test_padding_does_not_count():
    logits, target = torch.randn(2, 4, 6, requires_grad=True), torch.randint(0, 6, (2, 4))
    valid = torch.tensor([[True, True, True, True], [True, False, False, False]])
    loss = MaskedClassificationLoss()(logits, target, valid)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits[valid], target[valid]))
    loss.backward()
    assert (logits.grad[~valid] == 0).all()


def test_a_uniform_prediction_costs_the_logarithm_of_the_vocabulary():
    loss = MaskedClassificationLoss()(
        torch.zeros(2, 3, 8192, dtype=torch.bfloat16), torch.zeros(2, 3, dtype=torch.int64)
    )
    assert loss.dtype == torch.float32 and abs(loss.item() - math.log(8192)) < 1e-5


def test_nothing_masked_costs_nothing():
    assert MaskedClassificationLoss()(torch.zeros(2, 0, 5), torch.zeros(2, 0, dtype=torch.int64)) == 0
    nothing = torch.zeros(2, 1, dtype=torch.bool)
    assert MaskedClassificationLoss()(torch.zeros(2, 1, 5), torch.zeros(2, 1, dtype=torch.int64), nothing) == 0
