import pytest
import torch
from torch import nn

from mimselfsup.engine.optim import AutocastOptimWrapper


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
