import pytest
import torch
from mmpretrain.models.backbones import ResNet
from mmpretrain.models.necks import GlobalAveragePooling

from mimselfsup.models.backbones import TokenResNet, image_feature
from mimselfsup.structures import TokenMask

from ..conftest import randomise

NARROW = dict(depth=50, stem_channels=8, base_channels=8)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = TokenResNet(**NARROW)
    model.init_weights()
    return randomise(model).eval()


@torch.no_grad()
def test_the_mean_of_the_tokens_is_mmpretrains_pooled_feature(model):
    theirs = ResNet(**NARROW)
    theirs.eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 96)
    maps = theirs(images)
    tokens = model.encode(images)
    assert tokens.grid == model.token_grid((64, 96)) == (2, 3)
    assert tokens.extra.shape == (2, 0, 256) and tokens.cls_attention is None
    assert tokens.patches.std() > 0.01
    torch.testing.assert_close(tokens.patches[:, 3 * 1 + 2], maps[0][:, :, 1, 2])  # row-major
    torch.testing.assert_close(image_feature(tokens), GlobalAveragePooling()(maps)[0])
    assert torch.equal(model(images)[0], maps[0])
    model.load_state_dict(theirs.state_dict(), strict=True)


def test_resnet_50_says_its_sizes():
    model = TokenResNet(50)
    assert (model.out_channels, model.patch_size, model.out_stride) == (2048, (32, 32), (32, 32))


@pytest.mark.parametrize('kwargs', [{}, dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))])
@pytest.mark.parametrize('size', [(96, 97), (33, 64), (50, 31)])
@torch.no_grad()
def test_the_grid_is_known_beforehand_for_any_size(size, kwargs):
    model = TokenResNet(**NARROW, **kwargs).eval()
    assert model.encode(torch.randn(1, 3, *size)).grid == model.token_grid(size)


def test_refuses_what_convolutions_cannot_do(model):
    images = torch.randn(2, 3, 32, 32)
    with pytest.raises(ValueError, match='train it without a masking'):
        model.encode(images, TokenMask.none(2, 1))
    with pytest.raises(ValueError, match='TokenResNet has no attention'):
        model.encode(images, cls_attention=True)
    with pytest.raises(ValueError, match=r'out_indices=\(0, 1\), must contain 3'):
        TokenResNet(**NARROW, out_indices=(0, 1))


def test_modes_can_be_chained(model):
    assert model.train() is model and model.layer1.training
    assert model.eval() is model and not model.layer1.training
