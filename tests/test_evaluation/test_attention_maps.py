"""The maps are those that the fused attention mixed values by."""

import pytest
import torch

from mimselfsup.evaluation import attention_maps
from mimselfsup.registry import MODELS
from tests.test_models.conftest import TINY, randomise


def build(**kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, **kwargs))
    model.init_weights()
    model = randomise(model)
    for name, weight in model.named_parameters():
        if 'qkv.weight' in name:
            weight.data.mul_(4)  # maps far from even
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))  # not the grid of the positions


BACKBONES = {
    'one [CLS]': dict(),
    'proxies': dict(num_cls_tokens=4, hidden='compress'),
    'no [CLS]': dict(with_cls_token=False, out_type='avg_featmap'),
    'relative positions': dict(position='shared_relative', layer_scale_init_value=0.1),
}


@pytest.mark.parametrize('settings', BACKBONES.values(), ids=BACKBONES)
def test_maps_mix_the_values_into_what_each_block_projects(images, settings):
    model = build(**settings)
    values, mixed = [], []
    for layer in model.layers:
        layer.attn.qkv.register_forward_hook(lambda _, __, output: values.append(output[..., 96:]))
        layer.attn.proj.register_forward_hook(lambda _, inputs, __: mixed.append(inputs[0]))
    with torch.no_grad():
        model.encode(images)
    expected = [(v.unflatten(2, (3, 16)).transpose(1, 2), m) for v, m in zip(values, mixed, strict=True)]
    maps = list(attention_maps(model, images))
    assert len(maps) == 3
    for each, (value, output) in zip(maps, expected, strict=True):
        assert each.dtype == torch.float32
        torch.testing.assert_close((each @ value).transpose(1, 2).flatten(2), output, atol=2e-5, rtol=1e-4)
        assert each.max() > 3 / each.shape[-1]


@pytest.mark.parametrize('settings', BACKBONES.values(), ids=BACKBONES)
def test_chosen_blocks_and_rows_are_those_of_all(images, settings):
    model = build(**settings)
    first, _, last = attention_maps(model, images)
    chosen = list(attention_maps(model, images, blocks=[-1, 0], queries=[5, 2]))
    torch.testing.assert_close(torch.stack(chosen), torch.stack([first, last])[..., [5, 2], :])
    extra = model.num_extra_tokens
    if extra:  # what maskings rank by
        with torch.no_grad():
            ranked = model.encode(images, cls_attention=True).cls_attention
        torch.testing.assert_close(last[:, :, :extra, extra:].mean(2), ranked)


def test_half_precision_gives_maps_of_full_precision_and_nothing_is_left_in_the_model(images):
    model = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (maps,) = attention_maps(model, images, blocks=[-1])
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]), atol=1e-5, rtol=0)
    assert not any(layer.attn.qkv._forward_hooks for layer in model.layers)
    with pytest.raises(ValueError, match='whole number of patches'):
        attention_maps(model, images[..., :30])
    assert not any(layer.attn.qkv._forward_hooks for layer in model.layers)


def test_windows_have_no_such_maps():
    with pytest.raises(ValueError, match='Linear has no attention between all tokens; use a MaskedViT'):
        attention_maps(torch.nn.Linear(1, 1), torch.zeros(1, 3, 8, 8))
