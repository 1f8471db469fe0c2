"""SemanticMIM: what its decoder computes, what it cannot know, and what is left when it is gone."""

import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer

from mimselfsup.models.backbones import MaskedViT
from mimselfsup.models.necks import ProxyDecoder
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from ..conftest import TINY, randomise


def build(proxies=4, **changes):
    backbone = dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='compress', num_cls_tokens=proxies)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='MaskedImageModeling',
            backbone=backbone | changes,
            masking=dict(type='RandomMasking', mask_ratio=0.6, count='ceil'),
            decoder=dict(type='ProxyDecoder'),
            target=dict(type='PixelTarget'),
            loss=dict(type='MaskedRegressionLoss', criterion='l2'),
        )
    )
    model.init_weights()
    return randomise(model).eval()


def pictures(rows=2):
    return torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def draw(hidden=10, thrown=0, rows=2):
    order = torch.rand(rows, 16, generator=torch.Generator().manual_seed(5)).argsort(1)
    return TokenMask(order < hidden, (order >= hidden) & (order < hidden + thrown))


def pixels_of(patches):
    """bool (B, N) -> (B, 3, 32, 32)."""
    pixels = patches.view(-1, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return pixels.expand(-1, 3, -1, -1)


def attend(block, query, keys):
    """The paper's block: attention of ``query`` to ``keys`` written out, one LayerNorm for both, then the MLP."""
    attn = block.attn
    heads, width = attn.num_heads, attn.embed_dims
    weights, biases = attn.qkv.weight.chunk(3), attn.qkv.bias.chunk(3)
    q, k, v = (
        (block.ln1(x) @ weight.T + bias).unflatten(2, (heads, width // heads)).transpose(1, 2)
        for x, weight, bias in zip((query, keys, keys), weights, biases, strict=True)
    )
    mixed = (q @ k.transpose(-1, -2) / (width // heads) ** 0.5).softmax(-1) @ v
    query = query + attn.gamma1(attn.proj(mixed.transpose(1, 2).flatten(2)))
    return query + block.ffn.gamma2(block.ffn.layers(block.ln2(query)))


@pytest.mark.parametrize(('proxies', 'hidden'), [(1, 10), (2, 4), (8, 10), (64, 15)])
def test_is_the_papers_equations(proxies, hidden):
    """Equations 3 and 4, block by block, in float64 and with all that BEiT's recipe adds."""
    model = build(proxies, layer_scale_init_value=0.1).double()
    images, mask = pictures().double(), draw(hidden)
    encoder, decoder = model.backbone, model.decoder
    positions = encoder.pos_embed
    embedded = encoder.patch_embed(images)[0] + positions[:, proxies:]
    proxy = (encoder.cls_token + positions[:, :proxies]).expand(2, -1, -1)
    image = torch.stack([embedded[row][mask.visible[row]] for row in range(2)])
    masked = torch.stack([(decoder.mask_token + positions[:, proxies:])[0][mask.masked[row]] for row in range(2)])
    for compress, reconstruct in zip(encoder.layers, decoder.blocks, strict=True):
        both = torch.cat([proxy, image], 1)
        both = attend(compress, both, both)
        proxy, image = both[:, :proxies], both[:, proxies:]
        masked = attend(reconstruct, masked, torch.cat([proxy, masked], 1))
    expected = decoder.prediction(encoder.ln1(masked))
    torch.testing.assert_close(decoder(encoder.encode(images, mask), mask), expected, atol=1e-10, rtol=1e-8)


def test_no_image_or_proxy_token_knows_a_masked_pixel():
    """Bit by bit the same after every block, whatever stands where it is masked."""
    model, images, mask = build(), pictures(), draw()
    after = []
    for layer in model.backbone.layers:
        layer.register_forward_hook(lambda _, __, out: after.append(out))
    first = model.decoder(model.backbone.encode(images, mask), mask)
    other = torch.where(pixels_of(mask.masked), torch.randn_like(images) * 9, images)
    second = model.decoder(model.backbone.encode(other, mask), mask)
    assert len(after) == 6 and after[0].shape == (2, 4 + 6, 48)
    for one, two in zip(after[:3], after[3:], strict=True):
        assert torch.equal(one, two)
    assert torch.equal(first, second)


def test_mask_tokens_know_the_image_through_the_proxies_alone():
    model, mask = build(), draw()
    images = pictures().requires_grad_()
    tokens = model.backbone.encode(images, mask)
    through = torch.autograd.grad(model.decoder(tokens, mask).square().sum(), images, retain_graph=True)[0]
    assert (through[pixels_of(mask.visible)] != 0).all() and (through[pixels_of(mask.masked)] == 0).all()

    predicted = model.decoder(tokens, mask)
    blocked = [proxies.detach() for proxies in tokens.proxies]
    other = model.backbone.encode(torch.randn_like(images) * 9, mask)
    assert not torch.allclose(model.decoder(other, mask), predicted, atol=1e-2)
    other.proxies = blocked
    assert torch.equal(model.decoder(other, mask), predicted)  # other patches, other last [CLS] tokens
    tokens.proxies = blocked
    deaf = torch.autograd.grad(model.decoder(tokens, mask).sum(), images, allow_unused=True)[0]
    assert deaf is None


@pytest.mark.parametrize('depth', range(3))
def test_each_block_reads_the_proxies_of_its_own_depth(depth):
    """Replacing those of one depth changes the answer, and the last ones matter too."""
    model, images, mask = build(), pictures(), draw()
    tokens = model.backbone.encode(images, mask)
    predicted = model.decoder(tokens, mask)
    tokens.proxies[depth] = torch.randn_like(tokens.proxies[depth])
    assert not torch.allclose(model.decoder(tokens, mask), predicted, atol=1e-2)


def test_mask_tokens_know_each_other():
    """Without one of them the others answer differently; order and company are all that differs."""
    model, images, mask = build(), pictures(), draw()
    tokens = model.backbone.encode(images, mask)
    full = model.decoder(tokens, mask)
    first = torch.zeros_like(mask.masked).scatter(1, mask.masked_subset.index[:, :1], True)
    fewer = model.decoder(tokens, TokenMask(mask.masked & ~first, first))
    assert (fewer - full[:, 1:]).abs().amax((1, 2)).min() > 1e-3


def test_rows_with_different_counts_equal_rows_alone():
    model, images = build(), pictures(3)
    order = torch.rand(3, 16, generator=torch.Generator().manual_seed(6)).argsort(1)
    mask = TokenMask(order < torch.tensor([[3], [11], [0]]), order >= torch.tensor([[14], [16], [16]]))
    predicted = model.decoder(model.backbone.encode(images, mask), mask)
    assert predicted.shape == (3, 11, 192)
    for row in range(3):
        one = TokenMask(mask.masked[row : row + 1], mask.thrown[row : row + 1])
        alone = model.decoder(model.backbone.encode(images[row : row + 1], one), one)[0]
        torch.testing.assert_close(predicted[row, : len(alone)], alone, atol=2e-6, rtol=1e-5)
        assert len(alone) == int(one.masked.sum())


@pytest.mark.parametrize('hidden', [0, 16])
def test_nothing_and_everything_hidden(hidden):
    model, images, mask = build(), pictures(), draw(hidden)
    predicted = model.decoder(model.backbone.encode(images, mask), mask)
    assert predicted.shape == (2, hidden, 192)
    if hidden:  # two images of which nothing is seen
        assert torch.equal(predicted[0], predicted[1]) and predicted[0].std(0).min() > 1e-3


def test_positions_follow_the_size_of_the_image():
    model = build()
    images, mask = torch.randn(1, 3, 48, 32), TokenMask(torch.arange(24)[None] % 2 == 0)
    tokens = model.backbone.encode(images, mask)
    seen = []
    model.decoder.blocks[0].ln1.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][:, 4:]))
    model.decoder(tokens, mask)
    expected = model.decoder.mask_token + model.backbone.positions((6, 4))[:, 4::2]
    torch.testing.assert_close(seen[0], expected)


def test_every_parameter_gets_a_gradient_and_none_stands_twice():
    """What distributed training demands; the last block of the encoder reaches the loss through its proxies."""
    model = build()
    model.loss(pictures())['loss_reconstruction'].backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all((parameter.grad != 0).any() for parameter in model.backbone.layers[-1].parameters())
    names = set(model.state_dict())
    assert {name.split('.')[1] for name in names if name.startswith('decoder.')} == {
        'mask_token',
        'blocks',
        'prediction',
    }


def test_both_halves_begin_alike_with_weights_of_their_own():
    config = dict(arch='tiny', num_cls_tokens=8, hidden='compress', weight_init='trunc_normal_rescaled')
    encoder = MaskedViT(**config, layer_scale_init_value=0.1, drop_path_rate=0.1)
    decoder = ProxyDecoder(192, out_channels=5, grid=(14, 14))
    decoder.bind(encoder)
    torch.manual_seed(0)
    encoder.init_weights()
    decoder.init_weights()
    for depth, (ours, theirs) in enumerate(zip(decoder.blocks, encoder.layers, strict=True), start=1):
        for name in ('attn.proj.weight', 'ffn.layers.1.weight'):
            mine, other = ours.get_parameter(name).detach(), theirs.get_parameter(name).detach()
            assert mine.std() == pytest.approx(0.02 / (2 * depth) ** 0.5, rel=0.05)
            assert not torch.equal(mine, other)
        assert (ours.attn.gamma1.weight == 0.1).all()
        assert ours.attn.out_drop.drop_prob == theirs.attn.out_drop.drop_prob == pytest.approx(0.1 * (depth - 1) / 11)
    assert decoder.mask_token.detach().std() == pytest.approx(0.02, rel=0.3)


def test_sizes_of_the_paper():
    """ViT-B/16 with 8 proxies: 85.8 million parameters stay and 85.1 million are dropped."""
    with torch.device('meta'):
        encoder = MaskedViT('base', hidden='compress', num_cls_tokens=8)
        decoder = ProxyDecoder(768, out_channels=8192, grid=(14, 14))
        decoder.bind(encoder)
    assert encoder.pos_embed.shape == (1, 204, 768)
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(85.8e6, abs=5e4)
    head = sum(p.numel() for p in decoder.prediction.parameters())
    assert sum(p.numel() for p in decoder.parameters()) - head == pytest.approx(85.1e6, abs=5e4)


@pytest.mark.parametrize('size', [32, 48])
def test_what_remains_is_a_vit_that_loads_as_mmpretrains_do(tmp_path, size):
    """From a whole checkpoint by init_cfg, at the size it was trained at and at another one."""
    model = build(8)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'epoch_1.pth')
    downstream = MODELS.build(
        dict(
            type='MaskedViT',
            arch=TINY,
            img_size=size,
            patch_size=8,
            num_cls_tokens=8,
            out_type='raw',
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_1.pth'), prefix='backbone.'),
        )
    ).eval()
    downstream.init_weights()
    assert downstream.pos_embed.shape == (1, 8 + (size // 8) ** 2, 48)
    assert downstream.state_dict().keys() == model.backbone.state_dict().keys()
    images = torch.randn(2, 3, size, size)
    tokens = model.backbone.encode(images)
    expected = torch.cat([tokens.extra, tokens.patches], 1)
    torch.testing.assert_close(downstream(images)[0], expected, atol=2e-6, rtol=1e-5)
    stock = VisionTransformer(arch=dict(TINY), img_size=32, patch_size=8)
    assert stock.state_dict().keys() == downstream.state_dict().keys()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="mask tokens need absolute positions, but the backbone has position='shared"):
        build(1, position='shared_relative')
    with pytest.raises(ValueError, match="ProxyDecoder needs a backbone with hidden='compress', but MaskedViT has"):
        build(hidden='drop')
