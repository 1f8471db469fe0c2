"""BEiT and MaskFeat as configs of MaskedImageModeling: mmpretrain's losses and gradients, and what a step must keep."""

import pytest
import torch
from mmpretrain.models.heads import BEiTV1Head, MIMHead
from mmpretrain.models.necks import LinearNeck
from mmpretrain.models.selfsup.beit import BEiTPretrainViT
from mmpretrain.models.selfsup.maskfeat import HOGGenerator, MaskFeatViT

from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from ..conftest import TINY, randomise
from .test_masked_image_modeling import Fixed

VQ = dict(type='VQTokenizer', num_codes=16, strides=(4, 2), width=8, code_dims=4)
BEIT = dict(
    type='MaskedImageModeling',
    backbone=dict(
        type='MaskedViT',
        arch=TINY,
        img_size=32,
        patch_size=8,
        hidden='replace',
        position='shared_relative',
        layer_scale_init_value=0.1,
        weight_init='trunc_normal_rescaled',
    ),
    masking=dict(type='BlockMasking', mask_ratio=0.4, min_block=3),
    decoder=dict(type='LinearDecoder'),
    target=dict(type='TokenTarget', tokenizer=VQ, allow_random=True),
    loss=dict(type='MaskedClassificationLoss'),
)
MASKFEAT = dict(
    type='MaskedImageModeling',
    backbone=dict(type='MaskedViT', arch=TINY, img_size=112, patch_size=8, hidden='replace'),
    masking=dict(type='BlockMasking', mask_ratio=78 / 196, min_block=15),
    decoder=dict(type='LinearDecoder'),
    target=dict(type='HOGTarget', gaussian_window=16),
    loss=dict(type='MaskedRegressionLoss', criterion='l2'),
)


def build(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return randomise(model).eval()


def as_beit(state):
    """MaskedViT's names and shapes as those of mmpretrain's BEiT: no bias on the keys, another name for layer scale."""
    renamed = {}
    for key, value in state.items():
        key = key.replace('attn.gamma1.weight', 'gamma_1').replace('ffn.gamma2.weight', 'gamma_2')
        if key.endswith('qkv.bias'):
            query, _, value_bias = value.chunk(3)
            renamed[key.replace('qkv.bias', 'q_bias')] = query
            renamed[key.replace('qkv.bias', 'v_bias')] = value_bias
        else:
            renamed[key] = value
    return renamed


def test_beit_is_mmpretrains_beit():
    """Same weights, mask and codes: same loss, same gradients, in float64. A bias on the keys changes nothing."""
    ours = build(BEIT).double()
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64) * 255
    mask = ours.masking((4, 4), 4)
    ours.masking = Fixed(mask)
    loss = ours.loss(images)['loss_reconstruction']
    loss.backward()

    backbone = BEiTPretrainViT(arch=dict(TINY), img_size=32, patch_size=8, layer_scale_init_value=0.1).double()
    backbone.load_state_dict(as_beit(ours.backbone.state_dict()), strict=True)
    head = BEiTV1Head(48, 16, dict(type='mmpretrain.CrossEntropyLoss')).double()
    head.cls_head.load_state_dict(ours.decoder.prediction.state_dict())
    codes = ours.target.frozen.network.codes(images)
    logits = torch.nn.functional.one_hot(codes, 16).permute(0, 3, 1, 2)
    expected = head.loss(backbone(images, mask.masked.view(4, 4, 4))[0], logits, mask.masked)
    expected.backward()

    torch.testing.assert_close(loss, expected, atol=0, rtol=1e-9)
    gradients = {name: parameter.grad for name, parameter in ours.backbone.named_parameters()}
    for name, gradient in gradients.items():
        if name.endswith('qkv.bias'):
            assert gradient.chunk(3)[1].abs().max() < 1e-12
    gradients = as_beit(gradients)
    for name, parameter in backbone.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-10, rtol=1e-7, msg=name)
    torch.testing.assert_close(ours.decoder.prediction.weight.grad, head.cls_head.weight.grad, atol=1e-10, rtol=1e-7)


def test_maskfeat_is_mmpretrains_maskfeat():
    ours = build(MASKFEAT)
    images = torch.randn(2, 3, 112, 112)
    mask = ours.masking((14, 14), 2)
    assert mask.counts['masked'] == (78, 78)
    ours.masking = Fixed(mask)
    loss = ours.loss(images)['loss_reconstruction']
    loss.backward()

    backbone = MaskFeatViT(arch=dict(TINY), img_size=112, patch_size=8)
    backbone.load_state_dict(ours.backbone.state_dict(), strict=True)
    neck = LinearNeck(48, 27, norm_cfg=None)
    neck.fc.load_state_dict(ours.decoder.prediction.state_dict())
    latent = backbone(images, mask.masked)
    predicted = neck((latent.flatten(0, 1),))[0].view(2, 197, 27)[:, 1:]
    target = HOGGenerator(gaussian_window=16)(images)
    expected = MIMHead(dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2')).loss(
        predicted, target, mask.masked.float()
    )
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=0, rtol=1e-5)
    for (name, mine), (_, theirs) in zip(ours.backbone.named_parameters(), backbone.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-7, rtol=1e-3, msg=name)


def test_the_target_sees_the_second_view():
    """Its codes decide, and how the first one is normalised does not touch them."""
    dalle = dict(type='DALLETokenizer', n_hid=8, n_blk_per_group=1, vocab_size=16)
    target = dict(type='TokenTarget', tokenizer=dalle, allow_random=True)
    cfg = BEIT | dict(target=target, data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', to_rgb=True))
    cfg['backbone'] = BEIT['backbone'] | dict(img_size=64, patch_size=16)
    model = build(cfg)
    model.masking = Fixed(model.masking((4, 4), 2))
    images, second = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 32, 32) * 255
    asked = []
    model.target.register_forward_hook(lambda module, inputs, output: asked.append((inputs[0], output)))
    loss = model.loss([images, second])['loss_reconstruction']
    seen, codes = asked[0]
    assert torch.equal(seen, second)
    mask = model.masking.mask
    logits = model.decoder(model.backbone.encode(images, mask), mask)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), codes[mask.masked])
    torch.testing.assert_close(loss, expected)
    with pytest.raises(ValueError, match=r'TokenTarget sees 64 patches in its images, the encoder 4 x 4'):
        model.loss(images)


@pytest.mark.parametrize('cfg', [BEIT, MASKFEAT], ids=['beit', 'maskfeat'])
def test_hidden_pixels_decide_the_target_and_not_the_prediction(cfg):
    model = build(cfg)
    size = model.backbone.img_size
    grid = model.backbone.token_grid(size)
    mask = model.masking(grid, 2)
    model.masking = Fixed(mask)
    images = torch.rand(2, 3, *size) * 255
    hidden = mask.masked.view(2, 1, *grid).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = torch.where(hidden, torch.rand_like(images) * 255, images)
    for images_now in (images, changed):
        predicted = model.decoder(model.backbone.encode(images_now, mask), mask)
        if images_now is images:
            before = predicted
    assert torch.equal(predicted, before)
    assert model.loss(images)['loss_reconstruction'] != model.loss(changed)['loss_reconstruction']


def test_unequal_rows_of_classes_equal_the_mean_over_all_masked_patches():
    model = build(BEIT)
    order = torch.rand(3, 16).argsort(1)
    mask = TokenMask(order < torch.tensor([[3], [8], [0]]))
    images = torch.rand(3, 3, 32, 32) * 255
    model.masking = Fixed(mask)
    together = model.loss(images)['loss_reconstruction']
    total = 0.0
    for row, count in enumerate((3, 8, 0)):
        model.masking = Fixed(TokenMask(mask.masked[row : row + 1]))
        total += count * model.loss(images[row : row + 1])['loss_reconstruction']
    torch.testing.assert_close(together, total / 11, atol=1e-6, rtol=1e-5)


def test_an_untrained_head_knows_nothing_of_the_codes():
    """Close to the logarithm of the vocabulary, and the log says how many codes there are to tell apart."""
    torch.manual_seed(0)
    model = MODELS.build(BEIT)
    model.init_weights()
    losses = model.loss(torch.rand(8, 3, 32, 32) * 255)
    assert abs(losses['loss_reconstruction'].item() - torch.tensor(16.0).log()) < 0.3
    assert 1 < losses['code_perplexity'] <= 16


@pytest.mark.parametrize('cfg', [BEIT, MASKFEAT], ids=['beit', 'maskfeat'])
def test_reconstruction_shows_the_target_where_nothing_is_masked(cfg):
    model = build(cfg | dict(data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[99], std=[50])))
    size = model.backbone.img_size
    images = (torch.rand(2, 3, *size) * 255 - 99) / 50
    mask, picture = model.reconstruct(images, torch.Generator().manual_seed(0))
    grid = model.backbone.token_grid(size)
    shown = model.target.to_pixels(model.target(images), images)
    assert picture.shape == images.shape
    raw = picture * 50 + 99
    assert raw.min() > -1e-3 and raw.max() < 255.001
    hidden = mask.masked.view(2, 1, *grid).repeat_interleave(8, 2).repeat_interleave(8, 3).expand_as(images)
    if cfg is MASKFEAT:  # a decoded code looks at its neighbours
        torch.testing.assert_close(picture[~hidden], shown[~hidden], atol=1e-5, rtol=0)
    assert (picture[hidden] - shown[hidden]).abs().mean() > 1e-3


def test_a_checkpoint_and_the_optimizer_hold_nothing_of_the_target():
    model = build(BEIT)
    assert not [name for name in model.state_dict() if name.startswith('target')]
    assert not [name for name, _ in model.named_parameters() if name.startswith('target')]


def test_features_of_a_teacher_instead():
    teacher = dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8)
    cfg = BEIT | dict(
        target=dict(type='FeatureTarget', backbone=teacher, allow_random=True),
        loss=dict(type='MaskedRegressionLoss', criterion='l2'),
    )
    model = build(cfg)
    losses = model.loss(torch.randn(2, 3, 32, 32))
    losses['loss_reconstruction'].backward()
    assert losses['loss_reconstruction'].isfinite() and model.decoder.prediction.weight.shape == (48, 48)
    with pytest.raises(ValueError, match='FeatureTarget: its targets cannot be shown as a picture'):
        model.reconstruct(torch.randn(2, 3, 32, 32))
