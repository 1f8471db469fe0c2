import pytest
import torch
from mmpretrain.models.heads import MAEPretrainHead, SimMIMHead
from mmpretrain.models.necks import MAEPretrainDecoder, SimMIMLinearDecoder
from mmpretrain.models.selfsup import SimMIMSwinTransformer
from mmpretrain.models.selfsup.mae import MAEViT

from mimselfsup.models.necks.linear_decoder import conv_to_linear, linear_to_conv
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from ..conftest import TINY, randomise
from ..test_backbones.test_masked_swin import SWIN


def mae(**changes):
    cfg = dict(
        type='MaskedImageModeling',
        backbone=dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, position='sincos', weight_init='xavier'),
        masking=dict(type='RandomMasking', mask_ratio=0.75, count='ceil'),
        decoder=dict(type='TransformerDecoder', width=32, depth=2, num_heads=4),
        target=dict(type='PixelTarget', normalize=True),
        loss=dict(type='MaskedRegressionLoss', criterion='l2'),
    )
    return cfg | changes


def simmim(**changes):
    cfg = dict(
        type='MaskedImageModeling',
        backbone=dict(type='MaskedSwin', **SWIN),
        masking=dict(type='RandomMasking', mask_ratio=0.6, unit=2, count='ceil'),
        decoder=dict(type='LinearDecoder'),
        target=dict(type='PixelTarget'),
        loss=dict(type='MaskedRegressionLoss', criterion='l1'),
    )
    return cfg | changes


def build(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return randomise(model).eval()


class Fixed:
    """A masking that answers with a given mask."""

    needs_saliency = throws = False

    def __init__(self, mask):
        self.mask = mask

    def __call__(self, grid, batch_size, saliency=None, generator=None, device=None):
        return self.mask


def test_mae_is_mmpretrains_mae(monkeypatch):
    """Same weights, same mask: same loss and same gradients, in float64."""
    ours = build(mae()).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    mask = ours.masking((4, 4), 4)
    ours.masking = Fixed(mask)
    loss = ours.loss(images)['loss_reconstruction']
    loss.backward()

    backbone = MAEViT(arch=dict(TINY), img_size=32, patch_size=8).double()
    neck = MAEPretrainDecoder(16, 8, 3, 48, 32, 2, 4).double()
    head = MAEPretrainHead(dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2'), norm_pix=True, patch_size=8)
    backbone.load_state_dict(ours.backbone.state_dict(), strict=True)
    neck.load_state_dict(ours.decoder.state_dict(), strict=True)

    def given(x, ratio):
        shuffle = torch.cat([mask.visible_subset.index, mask.masked_subset.index], 1)
        kept = x.gather(1, shuffle[:, :4, None].expand(-1, -1, 48))
        return kept, mask.masked.double(), shuffle.argsort(1)

    monkeypatch.setattr(backbone, 'random_masking', given)
    latent, flags, restore = backbone(images)
    expected = head.loss(neck(latent, restore), images, flags)
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=0, rtol=1e-6)
    for part, theirs in ((ours.backbone, backbone), (ours.decoder, neck)):
        for (name, mine), (_, other) in zip(part.named_parameters(), theirs.named_parameters(), strict=True):
            if mine.requires_grad:
                torch.testing.assert_close(mine.grad, other.grad, atol=1e-7, rtol=1e-5, msg=name)


def test_simmim_is_mmpretrains_simmim():
    ours = build(simmim()).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    mask = ours.masking((8, 8), 4)
    ours.masking = Fixed(mask)
    loss = ours.loss(images)['loss_reconstruction']
    loss.backward()

    backbone = SimMIMSwinTransformer(**SWIN, drop_path_rate=0.0).double()
    backbone.load_state_dict(ours.backbone.state_dict(), strict=True)
    neck = SimMIMLinearDecoder(48, 8).double()
    with torch.no_grad():
        neck.decoder[0].weight.copy_(linear_to_conv(ours.decoder.prediction.weight, 2))
        neck.decoder[0].bias.copy_(linear_to_conv(ours.decoder.prediction.bias, 2))
    flags = mask.masked.double().view(4, 8, 8)
    predicted = neck(backbone(images, flags)[0])
    expected = SimMIMHead(4, dict(type='mmpretrain.PixelReconstructionLoss', criterion='L1', channel=3)).loss(
        predicted, images, flags
    )
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=0, rtol=1e-6)
    for (name, mine), (_, other) in zip(ours.backbone.named_parameters(), backbone.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-7, rtol=1e-5, msg=name)
    torch.testing.assert_close(
        ours.decoder.prediction.weight.grad, conv_to_linear(neck.decoder[0].weight.grad, 2), atol=1e-7, rtol=1e-5
    )


@pytest.mark.parametrize('cells', [1, 2, 8])
def test_pixel_heads_convert_both_ways(cells):
    side = 8 * cells
    weight, bias = torch.randn(3 * side**2, 5, 1, 1), torch.randn(3 * side**2)
    torch.testing.assert_close(linear_to_conv(conv_to_linear(weight, cells), cells), weight)
    torch.testing.assert_close(linear_to_conv(conv_to_linear(bias, cells), cells), bias)
    assert not torch.equal(conv_to_linear(bias, cells), bias)


def simmim_vit(**changes):
    backbone = dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='replace')
    return simmim(backbone=backbone, masking=dict(type='RandomMasking', mask_ratio=0.6, count='ceil')) | changes


def semanticmim(**changes):
    backbone = dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='compress', num_cls_tokens=4)
    return simmim_vit(backbone=backbone, decoder=dict(type='ProxyDecoder')) | changes


@pytest.mark.parametrize('config', [mae, simmim_vit, semanticmim])
def test_thrown_patches_count_for_nothing(config):
    """Neither encoder nor decoder nor loss: their pixels change nothing and get no gradient."""
    model = build(config())
    order = torch.rand(3, 16).argsort(1)
    mask = TokenMask(order < 7, (order >= 7) & (order < 12))
    model.masking = Fixed(mask)
    images = torch.randn(3, 3, 32, 32, requires_grad=True)
    loss = model.loss(images)['loss_reconstruction']
    loss.backward()
    thrown = mask.thrown.view(3, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1)
    assert (images.grad[thrown] == 0).all() and images.grad.abs().sum() > 0
    changed = torch.where(thrown, torch.randn_like(images) * 10, images)
    assert torch.equal(model.loss(changed)['loss_reconstruction'], loss)


@pytest.mark.parametrize('config', [mae, simmim_vit, semanticmim])
def test_unequal_rows_equal_the_mean_over_all_masked_patches(config):
    model = build(config())
    order = torch.rand(3, 16).argsort(1)
    mask = TokenMask(order < torch.tensor([[3], [8], [0]]), order >= torch.tensor([[15], [12], [16]]))
    images = torch.randn(3, 3, 32, 32)
    model.masking = Fixed(mask)
    together = model.loss(images)['loss_reconstruction']
    total = 0.0
    for row, count in enumerate((3, 8, 0)):
        model.masking = Fixed(TokenMask(mask.masked[row : row + 1], mask.thrown[row : row + 1]))
        total += count * model.loss(images[row : row + 1])['loss_reconstruction']
    torch.testing.assert_close(together, total / 11, atol=1e-6, rtol=1e-5)


def test_nothing_masked_gives_a_loss_of_zero():
    model = build(mae(masking=dict(type='RandomMasking', mask_ratio=0.0)))
    assert model.loss(torch.randn(2, 3, 32, 32))['loss_reconstruction'] == 0


def test_any_image_size_the_patches_tile():
    model = build(mae())
    out = model.loss(torch.randn(2, 3, 48, 64))
    assert out['loss_reconstruction'].isfinite() and out['masked_fraction'] == 0.75


@pytest.mark.parametrize('config', [mae, simmim, simmim_vit, semanticmim])
def test_reconstruction_keeps_visible_pixels_and_predicts_the_rest(config):
    model = build(config())
    images = torch.randn(2, 3, 32, 32)
    mask, pixels = model.reconstruct(images, torch.Generator().manual_seed(0))
    again, same = model.reconstruct(images, torch.Generator().manual_seed(0))
    assert torch.equal(mask.masked, again.masked) and torch.equal(pixels, same)
    side = int(mask.masked.shape[1] ** 0.5)
    hidden = mask.masked.view(2, 1, side, side)
    hidden = hidden.repeat_interleave(32 // side, 2).repeat_interleave(32 // side, 3).expand(-1, 3, -1, -1)
    torch.testing.assert_close(pixels[~hidden], images[~hidden], atol=1e-5, rtol=1e-5)
    assert (pixels[hidden] - images[hidden]).abs().mean() > 0.1


def test_what_is_seen_and_what_is_predicted_may_be_drawn_apart():
    """Of 16 patches the encoder sees 6 and 12 are predicted: some of both kinds, and the loss is of those 12."""
    model = build(semanticmim(prediction_masking=dict(type='RandomMasking', mask_ratio=0.75)))
    images = torch.randn(3, 3, 32, 32)
    seen, asked = model.masking((4, 4), 3), model.prediction_masking((4, 4), 3)
    assert seen.counts['visible'] == (6, 6) and asked.counts['masked'] == (12, 12)
    assert (seen.visible & asked.masked).any() and (seen.masked & ~asked.masked).any()
    model.masking, model.prediction_masking = Fixed(seen), Fixed(asked)
    found = model.loss(images)
    predicted = model.decoder(model.backbone.encode(images, seen), asked)
    target = model.target(images)[asked.masked].view(3, 12, 192)
    torch.testing.assert_close(found['loss_reconstruction'], (predicted - target).abs().mean())
    assert found['masked_fraction'] == 10 / 16
    # To what it sees the model is as blind there as elsewhere: all that it may tell stands in the proxies.
    tokens = model.backbone.encode(images, seen)
    other = model.backbone.encode(torch.randn_like(images), seen)
    other.proxies = tokens.proxies
    assert torch.equal(model.decoder(other, asked), predicted)


def test_learns_eight_images():
    torch.manual_seed(0)
    model = MODELS.build(mae())
    model.init_weights()
    images = torch.nn.functional.interpolate(torch.randn(8, 3, 4, 4), 32, mode='bicubic')
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(150):
        loss = model.loss(images)['loss_reconstruction']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_errors_say_what_to_change():
    with pytest.raises(ValueError, match="LinearDecoder needs a backbone with hidden='replace'"):
        build(mae(decoder=dict(type='LinearDecoder')))
    apart = dict(type='RandomMasking', mask_ratio=0.6)
    with pytest.raises(ValueError, match=r'as masked ones \(ProxyDecoder\), not LinearDecoder; remove it'):
        build(simmim_vit(prediction_masking=apart))
    throwing = dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4)
    with pytest.raises(ValueError, match='neither may throw tokens, nor the first rank by saliency'):
        saliency = dict(type='EncoderAttention')
        build(semanticmim(masking=throwing, prediction_masking=apart, saliency=saliency))
    with pytest.raises(ValueError, match='prediction_masking=AttMask with masking RandomMasking'):
        build(semanticmim(prediction_masking=dict(type='AttMask', mask_ratio=0.3)))
    with pytest.raises(ValueError, match="mode='predict', must be 'loss' or 'tensor'"):
        build(mae())(torch.randn(1, 3, 32, 32), mode='predict')
    with pytest.raises(ValueError, match="criterion='l3', must be one of"):
        build(mae(loss=dict(type='MaskedRegressionLoss', criterion='l3')))
