"""Every masking in every pre-training algorithm with every source of saliency: what makes sense builds and steps,
and what does not is refused when it is built. docs/masking.md has the same table in words."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mimselfsup.models.saliency import AttentionBank
from mimselfsup.registry import MASKINGS, MODELS

from ..conftest import TINY
from ..test_backbones.test_masked_swin import SWIN

HOSTS = dict(
    mae=dict(
        backbone=dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, position='sincos'),
        decoder=dict(type='TransformerDecoder', width=32, depth=1, num_heads=4),
        target=dict(type='PixelTarget', normalize=True),
        loss=dict(type='MaskedRegressionLoss', criterion='l2'),
    ),
    simmim_vit=dict(
        backbone=dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='replace'),
        decoder=dict(type='LinearDecoder'),
        target=dict(type='PixelTarget'),
        loss=dict(type='MaskedRegressionLoss', criterion='l1'),
    ),
    simmim_vit_relative=dict(
        backbone=dict(
            type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='replace', position='shared_relative'
        ),
        decoder=dict(type='LinearDecoder'),
        target=dict(type='PixelTarget'),
        loss=dict(type='MaskedRegressionLoss', criterion='l1'),
    ),
    beit=dict(
        backbone=dict(
            type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='replace', position='shared_relative'
        ),
        decoder=dict(type='LinearDecoder'),
        target=dict(
            type='TokenTarget',
            tokenizer=dict(type='VQTokenizer', num_codes=16, strides=(4, 2), width=8, code_dims=4),
            allow_random=True,
        ),
        loss=dict(type='MaskedClassificationLoss'),
    ),
    maskfeat=dict(
        backbone=dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='replace'),
        decoder=dict(type='LinearDecoder'),
        target=dict(type='HOGTarget'),
        loss=dict(type='MaskedRegressionLoss', criterion='l2'),
    ),
    semanticmim=dict(
        backbone=dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='compress', num_cls_tokens=4),
        decoder=dict(type='ProxyDecoder'),
        target=dict(type='PixelTarget'),
        loss=dict(type='MaskedRegressionLoss', criterion='l1'),
    ),
    semanticmim_maskfeat=dict(
        backbone=dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8, hidden='compress', position='sincos'),
        decoder=dict(type='ProxyDecoder'),
        target=dict(type='HOGTarget'),
        loss=dict(type='MaskedRegressionLoss', criterion='l2'),
    ),
    simmim_swin=dict(
        backbone=dict(type='MaskedSwin', **SWIN),
        decoder=dict(type='LinearDecoder'),
        target=dict(type='PixelTarget'),
        loss=dict(type='MaskedRegressionLoss', criterion='l1'),
    ),
)
STRATEGIES = {
    'random': dict(type='RandomMasking', mask_ratio=0.75),
    'random units': dict(type='RandomMasking', mask_ratio=0.6, unit=2, count='ceil'),
    'random, drawn ratio': dict(type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    'block': dict(type='BlockMasking', mask_ratio=0.4, min_block=3),
    'grid': dict(type='GridMasking'),
    'attmask high': dict(type='AttMask', mode='high', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    'attmask low': dict(type='AttMask', mode='low', mask_ratio=0.3),
    'attmask hint': dict(type='AttMask', mode='hint', mask_ratio=0.5, show_max=0.3),
    'attmask units': dict(type='AttMask', mode='high', mask_ratio=0.3, unit=2),
    'mst': dict(type='AttentionGuidedMasking', num=2, p=0.5),
    'mst units': dict(type='AttentionGuidedMasking', num=2, p=1, unit=2),
    'am': dict(type='AttentionDrivenMasking', mask_ratio=0.75),
    'amt': dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4),
    'amt low': dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4, throw='low'),
    'amt random': dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4, throw='random'),
    'amt units': dict(type='AttentionDrivenMasking', mask_ratio=0.44, throw_ratio=0.26, unit=2, count='ceil'),
}
SOURCES = {
    'none': None,
    'encoder': dict(type='EncoderAttention'),
    'bank': dict(type='AttentionBank', image_size=32),
}


def refusal(host: str, strategy: str, source: str) -> str | None:
    """What the error says of a combination that makes no sense; None for one that does."""
    masking = MASKINGS.build(STRATEGIES[strategy])
    if masking.needs_saliency and source == 'none':
        return r"there is no source of it; add saliency=dict\(type='EncoderAttention'\)"
    if host == 'simmim_swin' and masking.throws:
        return 'cannot; set throw_ratio=0'
    return None


def model_config(host, strategy, source):
    return dict(type='MaskedImageModeling', masking=STRATEGIES[strategy], saliency=SOURCES[source], **HOSTS[host])


def samples(count):
    """Views with everything a bank asks for: whole images, not flipped."""
    return [
        DataSample(metainfo=dict(sample_idx=i, crop_box=(0, 0, 32, 32), crop_source=(32, 32), flip=False))
        for i in range(count)
    ]


def fill(bank: AttentionBank, tmp_path, count):
    maps = torch.rand(count, 4, 4, generator=torch.Generator().manual_seed(0)).numpy().astype(np.float16)
    np.save(tmp_path / 'maps.npy', maps)
    bank.attach()
    bank.open(tmp_path / 'maps.npy', maps.shape)


@pytest.mark.parametrize('source', SOURCES)
@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('host', HOSTS)
def test_combination(host, strategy, source, tmp_path):
    refused = refusal(host, strategy, source)
    if refused is not None:
        with pytest.raises(ValueError, match=refused):
            MODELS.build(model_config(host, strategy, source))
        return
    torch.manual_seed(0)
    model = MODELS.build(model_config(host, strategy, source))
    if source == 'bank':
        fill(model.saliency, tmp_path, 6)
    images = torch.randn(6, 3, 32, 32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in model.decoder.parameters()]
    torch.manual_seed(1)  # one that masks: of 64 batches of six rows one does not, with mask_prob=0.5
    losses = model(images, samples(6), mode='loss')
    losses['loss_reconstruction'].backward()
    optimizer.step()
    assert losses['loss_reconstruction'].isfinite() and losses['loss_reconstruction'] > 0
    assert 0 < losses['masked_fraction'] <= 0.75
    moved = [not torch.equal(old, new) for old, new in zip(before, model.decoder.parameters(), strict=True)]
    assert any(moved) and all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_saliency_source_is_no_part_of_the_state_dict():
    plain = MODELS.build(model_config('mae', 'random', 'none'))
    ranked = MODELS.build(model_config('mae', 'attmask high', 'encoder'))
    assert plain.state_dict().keys() == ranked.state_dict().keys()


def test_before_the_first_refresh_the_host_masks(tmp_path):
    config = model_config('mae', 'amt', 'bank')
    config['masking_before'] = dict(type='RandomMasking', mask_ratio=0.75, count='ceil')
    model = MODELS.build(config)
    model.saliency.attach()
    before = model.draw_mask(torch.randn(6, 3, 32, 32), samples(6), (4, 4))
    assert before.counts == dict(masked=(12, 12), thrown=(0, 0), kept=(16, 16), visible=(4, 4))
    fill(model.saliency, tmp_path, 6)
    after = model.draw_mask(torch.randn(6, 3, 32, 32), samples(6), (4, 4))
    assert after.counts == dict(masked=(7, 7), thrown=(6, 6), kept=(10, 10), visible=(3, 3))


def test_masking_before_must_do_without_saliency():
    config = model_config('mae', 'amt', 'bank')
    config['masking_before'] = dict(type='AttMask', mode='high', mask_ratio=0.3)
    with pytest.raises(ValueError, match='masking_before=AttMask is for the time before'):
        MODELS.build(config)
