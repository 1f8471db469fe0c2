import pytest
import torch
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.models.selfsup import SimMIMSwinTransformer

from mimselfsup.models.backbones import MaskedSwin
from mimselfsup.structures import TokenMask

from ..conftest import randomise

SWIN = dict(
    arch=dict(embed_dims=24, depths=[2, 2], num_heads=[2, 4]),
    img_size=32,
    stage_cfgs=dict(block_cfgs=dict(window_size=4)),
    out_indices=(1,),
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = MaskedSwin(**SWIN)
    model.init_weights()
    return randomise(model).eval()


def test_is_mmpretrains_swin_with_the_same_weights(model):
    theirs = SwinTransformer(**SWIN, drop_path_rate=0.0)
    theirs.eval()
    weights = {key: value for key, value in model.state_dict().items() if key != 'mask_token'}
    theirs.load_state_dict(weights, strict=True)
    images = torch.randn(2, 3, 32, 32)
    expected = theirs(images)[0]  # (B, 48, 4, 4)
    torch.testing.assert_close(model(images)[0], expected)
    torch.testing.assert_close(model.encode(images).patches, expected.flatten(2).transpose(1, 2))


def test_masks_as_mmpretrains_simmim(model):
    theirs = SimMIMSwinTransformer(**SWIN, drop_path_rate=0.0)
    theirs.eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32)
    masked = torch.rand(2, 64) < 0.6
    tokens = model.encode(images, TokenMask(masked))
    expected = theirs(images, masked.float().view(2, 8, 8))[0]
    assert tokens.grid == (4, 4) and tokens.extra.shape == (2, 0, 48)
    torch.testing.assert_close(tokens.patches, expected.flatten(2).transpose(1, 2), atol=2e-6, rtol=1e-5)


def test_refuses_what_windows_cannot_do(model):
    images = torch.randn(2, 3, 32, 32)
    nothing = torch.zeros(2, 64, dtype=torch.bool)
    thrown = nothing.clone()
    thrown[:, 0] = True
    with pytest.raises(ValueError, match='tokens cannot be thrown'):
        model.encode(images, TokenMask(nothing, thrown))
    with pytest.raises(ValueError, match=r'no \[CLS\] token'):
        model.encode(images, cls_attention=True)
    with pytest.raises(ValueError, match=r'the mask is \(2, 16\), expected \(2, 64\)'):
        model.encode(images, TokenMask.none(2, 16))
    with pytest.raises(ValueError, match='sides must be multiples of 8'):
        model.encode(torch.randn(1, 3, 36, 32))
