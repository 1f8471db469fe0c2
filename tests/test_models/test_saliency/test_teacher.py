"""The [CLS] row against the full attention matrix, and the source that takes it from the current encoder."""

import copy
import math

import pytest
import torch

from mimselfsup.models.backbones import MaskedSwin, MaskedViT, TokenResNet
from mimselfsup.models.saliency import EncoderAttention, cls_attention, mean_over_heads

from ..conftest import randomise
from ..test_backbones.test_masked_swin import SWIN

TINY = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)


def tiny_vit(training: bool = False, **kwargs) -> MaskedViT:
    torch.manual_seed(0)
    settings = dict(arch=TINY, img_size=32, patch_size=8, out_type='cls_token') | kwargs
    vit = MaskedViT(**settings)
    for parameter in vit.parameters():  # far from the nearly uniform attention of a fresh network
        torch.nn.init.normal_(parameter, std=0.5)
    vit.train(training)  # returns None in mmpretrain
    return vit


def full_attention(vit: MaskedViT, images: torch.Tensor) -> torch.Tensor:
    """(B, heads, 1 + N, 1 + N) of the last block: softmax(q k^T / sqrt(d)), from the weights, nothing fused."""
    tokens = vit.patch_embed(images)[0]
    tokens = torch.cat([vit.cls_token.expand(len(images), -1, -1), tokens], 1) + vit.pos_embed
    for layer in vit.layers[:-1]:
        tokens = layer(tokens)
    last = vit.layers[-1]
    qkv = last.attn.qkv(last.ln1(tokens)).unflatten(2, (3, last.attn.num_heads, -1))
    query, key, _ = qkv.permute(2, 0, 3, 1, 4)
    return (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)


@torch.no_grad()
def test_class_row_is_that_of_the_full_attention():
    vit = tiny_vit().double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = full_attention(vit, images)[:, :, 0]
    row = vit.encode(images, cls_attention=True).cls_attention
    assert expected[..., 1:].std() > 0.02  # not the uniform rows of which every formula is right
    # The row itself is float32 by design; everything before it is float64 here.
    torch.testing.assert_close(row.double(), expected[..., 1:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(row.sum(-1).double(), 1 - expected[..., 0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_asking_for_the_row_changes_no_token():
    vit = tiny_vit()
    images = torch.randn(2, 3, 32, 32)
    plain, asked = vit.encode(images), vit.encode(images, cls_attention=True)
    assert plain.cls_attention is None
    torch.testing.assert_close(asked.patches, plain.patches)
    torch.testing.assert_close(asked.extra, plain.extra)


def test_mean_over_heads():
    attention = torch.tensor([[[0.1, 0.3], [0.5, 0.1]]], dtype=torch.float16, requires_grad=True)
    saliency = mean_over_heads(attention)
    torch.testing.assert_close(saliency, torch.tensor([[0.3, 0.2]]), atol=1e-3, rtol=0)
    assert saliency.dtype == torch.float32 and not saliency.requires_grad


def test_encoder_attention_is_the_eval_mode_row_and_leaves_modes_alone():
    vit = tiny_vit(training=True, drop_rate=0.5, drop_path_rate=0.5)
    vit.layers[1].eval()
    modes = [module.training for module in vit.modules()]
    source = EncoderAttention()
    source.bind(vit)
    images = torch.randn(2, 3, 32, 32)
    saliency = source(images, None, (4, 4))
    assert [module.training for module in vit.modules()] == modes
    assert not saliency.requires_grad
    vit.eval()
    with torch.no_grad():
        expected = full_attention(vit, images)[:, :, 0, 1:].mean(1)
    torch.testing.assert_close(saliency, expected, atol=1e-6, rtol=1e-4)


def test_source_adds_nothing_to_the_state_dict_and_follows_a_copy():
    class Algorithm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = tiny_vit()
            self.saliency = EncoderAttention()
            self.saliency.bind(self.backbone)

    algorithm = Algorithm()
    assert set(algorithm.state_dict()) == {f'backbone.{key}' for key in algorithm.backbone.state_dict()}
    clone = copy.deepcopy(algorithm)
    torch.nn.init.normal_(clone.backbone.layers[-1].attn.qkv.weight, std=2.0)
    images = torch.randn(1, 3, 32, 32)
    own = mean_over_heads(cls_attention(clone.backbone, images))
    torch.testing.assert_close(clone.saliency(images, None, (4, 4)), own)
    assert not torch.allclose(algorithm.saliency(images, None, (4, 4)), own)


@torch.no_grad()
def test_a_swin_gives_the_attention_that_its_tokens_receive():
    torch.manual_seed(0)
    swin = MaskedSwin(**SWIN, drop_path_rate=0.5)
    randomise(swin).train()
    source = EncoderAttention()
    source.bind(swin)
    images = torch.randn(2, 3, 32, 32)
    saliency = source(images, None, (8, 8))
    assert swin.training
    swin.eval()
    torch.testing.assert_close(saliency, swin.encode(images, cls_attention=True).cls_attention.mean(1))
    torch.testing.assert_close(saliency.sum(1), torch.ones(2))


def test_errors_say_what_to_do():
    source, net = EncoderAttention(), TokenResNet(18)
    with pytest.raises(ValueError, match=r'must call bind\(backbone\)'):
        source(torch.randn(1, 3, 32, 32), None, (4, 4))
    for backbone, name in ((tiny_vit(with_cls_token=False, out_type='avg_featmap'), 'MaskedViT'), (net, 'TokenResNet')):
        with pytest.raises(ValueError, match=rf'this {name} has no attention .* MaskedViT with its \[CLS\] token'):
            source.bind(backbone)
