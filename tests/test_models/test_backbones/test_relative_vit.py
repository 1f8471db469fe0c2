import pytest
import torch
from mmpretrain.models.backbones import BEiTViT

from mimselfsup.models.backbones import RelativeViT
from mimselfsup.structures import TokenMask
from tests.test_models.conftest import TINY, randomise


def build(**settings):
    torch.manual_seed(0)
    return randomise(RelativeViT(TINY, img_size=(32, 24), patch_size=8, **settings)).eval()


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(final_norm=True, use_abs_pos_emb=True),
        dict(with_cls_token=False, use_rel_pos_bias=False, use_abs_pos_emb=True),
        dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True),
    ],
)
def test_tokens_are_those_of_mmpretrain(settings):
    backbone = build(**settings)
    parent = BEiTViT(TINY, img_size=(32, 24), patch_size=8, **settings | dict(out_type='raw'))
    parent.load_state_dict(backbone.state_dict(), strict=False)
    parent.eval()
    images = torch.randn(2, 3, 32, 24)
    with torch.no_grad():
        tokens, (expected,) = backbone.encode(images), parent(images)
    torch.testing.assert_close(torch.cat([tokens.extra, tokens.patches], 1), expected)
    assert tokens.grid == (4, 3) and tokens.extra.shape[1] == settings.get('with_cls_token', True)


def test_it_says_what_it_cannot_do():
    backbone = build()
    images = torch.randn(1, 3, 32, 24)
    with pytest.raises(ValueError, match='images of 24 x 32 pixels, its relative positions are for 32 x 24'):
        backbone.encode(images.transpose(2, 3))
    for asked in (dict(token_mask=TokenMask(torch.zeros(1, 12, dtype=torch.bool))), dict(cls_attention=True)):
        with pytest.raises(ValueError, match='use a MaskedViT'):
            backbone.encode(images, **asked)
    assert backbone.train() is backbone
