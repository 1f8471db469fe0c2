"""The last blocks of a MaskedViT, one by one."""

import pytest
import timm
import torch
from mmpretrain.models.backbones import VisionTransformer

from mimselfsup.interchange import convert

from ..conftest import TINY


@pytest.fixture
def images():
    return torch.randn(2, 3, 48, 32, generator=torch.Generator().manual_seed(2))  # not the size of the positions


@torch.no_grad()
def test_are_the_raw_outputs_of_mmpretrains_blocks_each_after_the_final_norm(tiny_vit, images):
    ours = tiny_vit()
    theirs = VisionTransformer(dict(TINY), img_size=32, patch_size=8, out_type='raw', out_indices=(0, 1, 2))
    theirs.eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    *early, last = theirs(images)
    expected = [*(theirs.ln1(tokens) for tokens in early), last]  # theirs norms the last alone
    for blocks in (1, 2, 3):
        found = ours.encode_last(images, blocks)
        assert len(found) == blocks
        for tokens, whole in zip(found, expected[-blocks:], strict=True):
            torch.testing.assert_close(torch.cat([tokens.extra, tokens.patches], 1), whole)
            assert tokens.grid == (6, 4)
    torch.testing.assert_close(found[-1].patches, ours.encode(images).patches)


@torch.no_grad()
def test_are_timms_intermediate_layers_in_the_order_of_dino(tmp_path):
    network = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=0
    ).eval()
    torch.save(network.state_dict(), tmp_path / 'timm.pth')
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    found = convert(tmp_path / 'timm.pth', num_heads=3).backbone.eval().encode_last(images, 2)
    expected = network.get_intermediate_layers(images, n=2, norm=True, return_prefix_tokens=True)
    for tokens, (patches, prefix) in zip(found, expected, strict=True):
        torch.testing.assert_close(tokens.patches, patches, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokens.extra, prefix, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0].extra, found[1].extra, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(
    'settings',
    [dict(position='shared_relative'), dict(num_cls_tokens=3), dict(with_cls_token=False, out_type='avg_featmap')],
)
def test_the_last_is_what_encode_gives(tiny_vit, images, settings):
    backbone = tiny_vit(**settings)
    tokens, last = backbone.encode(images), backbone.encode_last(images, 2)[-1]
    torch.testing.assert_close(last.extra, tokens.extra)
    torch.testing.assert_close(last.patches, tokens.patches)


def test_refuses_blocks_and_sizes_that_there_are_not(tiny_vit, images):
    with pytest.raises(ValueError, match='last 4 blocks are asked for, it has 3'):
        tiny_vit().encode_last(images, 4)
    with pytest.raises(ValueError, match='no whole number of patches'):
        tiny_vit().encode_last(images[..., :-1], 2)
