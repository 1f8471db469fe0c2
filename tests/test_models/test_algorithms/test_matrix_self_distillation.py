"""Every masking in every method of self-distillation with every source of saliency: what makes sense builds and steps,
and what does not is refused when it is built. docs/masking.md has the same table in words."""

import copy

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mimselfsup.models.saliency import crop_maps
from mimselfsup.registry import MASKINGS, MODELS

from ..test_backbones.test_masked_swin import SWIN
from .test_matrix import SOURCES, STRATEGIES, fill
from .test_self_distillation import DINO, IBOT, VIT, total, views

SWIN_CELLS = 2  # patches per side of a token that SWIN gives
BATCH = 3
HOSTS = dict(
    dino=DINO | dict(backbone=VIT),
    dino_dropped=DINO,
    ibot=IBOT,
    mst=DINO
    | dict(
        backbone=VIT,
        projector=DINO['projector'] | dict(norm='BN'),
        restoration=dict(type='ConvDecoder', channels=8, norm='BN'),
    ),
    ibot_swin=IBOT | dict(backbone=dict(type='MaskedSwin', **SWIN)),
    dino_resnet=DINO | dict(backbone=dict(type='TokenResNet', depth=18)),
)


def refusal(host: str, strategy: str, source: str) -> str | None:
    """What the error says of a combination that makes no sense; None for one that does."""
    masking = MASKINGS.build(STRATEGIES[strategy])
    if host == 'dino_resnet':
        return 'hides patches, which TokenResNet cannot; set masking=None .* or use a MaskedViT or a MaskedSwin'
    if host == 'ibot_swin' and masking.throws:
        return 'throws tokens, which MaskedSwin cannot; set throw_ratio=0'
    if host == 'ibot_swin' and getattr(masking, 'unit', 1) % SWIN_CELLS:
        return 'of 2 x 2 patches, of which .* may hide parts; use a masking with unit=2'
    if host == 'mst' and masking.throws:
        return 'restoration needs a token for every patch; .* a masking that throws nothing'
    if masking.needs_saliency and source == 'none':
        return r"there is no source of it; add saliency=dict\(type='EncoderAttention'\)"
    return None


def model_config(host, strategy, source):
    return copy.deepcopy(HOSTS[host] | dict(masking=STRATEGIES[strategy], saliency=SOURCES[source]))


def samples(count, num_views):
    """Views with everything a bank asks for: the quarters of their images one after the other, every second flipped."""
    boxes = [(16 * (view % 2), 16 * (view // 2 % 2), 16, 16) for view in range(num_views)]
    flips = [view % 2 == 1 for view in range(num_views)]
    meta = dict(crop_boxes=boxes, flips=flips, crop_source=(32, 32))
    return [DataSample(metainfo=dict(meta, sample_idx=index)) for index in range(count)]


@pytest.mark.parametrize('source', SOURCES)
@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('host', HOSTS)
def test_combination(host, strategy, source, tmp_path):
    refused = refusal(host, strategy, source)
    if refused is not None:
        with pytest.raises(ValueError, match=f'SelfDistillation: .*{refused}'):
            MODELS.build(model_config(host, strategy, source))
        return
    torch.manual_seed(0)
    model = MODELS.build(model_config(host, strategy, source))
    if source == 'bank':
        fill(model.saliency, tmp_path, BATCH)
    batch = views(local=2, batch=BATCH)
    before = copy.deepcopy(model.teacher.state_dict())
    losses = model(batch, samples(BATCH, len(batch)), mode='loss')
    total(losses).backward()
    assert all(value.isfinite() for value in losses.values()) and losses['loss_cls'] > 0
    assert 0 < losses['masked_fraction'] <= 0.75
    assert ('loss_patch' in losses) == host.startswith('ibot') and losses.get('loss_patch', 1) > 0
    assert ('loss_restoration' in losses) == (host == 'mst') and losses.get('loss_restoration', 1) > 0
    missed = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert not missed
    torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1).step()
    model.after_optimizer_step()
    after = model.teacher.state_dict()
    assert not torch.equal(before['projector.mlp.0.weight'], after['projector.mlp.0.weight'])
    assert all(each.isfinite().all() for each in after.values())


@pytest.mark.parametrize('host', ['dino_resnet', 'ibot_swin'])
def test_a_backbone_of_another_kind_trains_without_a_masking(host):
    model = MODELS.build(copy.deepcopy(HOSTS[host] | dict(masking=None, patch_loss=None)))
    losses = model(views(local=2, batch=BATCH), mode='loss')
    total(losses).backward()
    assert losses['loss_cls'].isfinite()
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)


def test_each_view_gets_its_own_piece_of_a_banks_map(tmp_path, monkeypatch):
    model = MODELS.build(model_config('dino', 'attmask low', 'bank'))
    fill(model.saliency, tmp_path, BATCH)
    asked = []
    draw = model.masking.draw
    monkeypatch.setattr(model.masking, 'draw', lambda *args: asked.append(args[2]) or draw(*args))
    model(views(local=2, batch=BATCH), samples(BATCH, 4), mode='loss')
    maps = model.saliency.read(np.arange(BATCH)).float()
    quarters = [((0, 0, 0.5, 0.5), False), ((0.5, 0, 0.5, 0.5), True)]  # of the two global views, the second flipped
    expected = [
        crop_maps(maps, torch.tensor([box] * BATCH), torch.tensor([[False, flip]] * BATCH), (4, 4))
        for box, flip in quarters
    ]
    torch.testing.assert_close(asked[0], torch.cat(expected))


def test_what_masks_before_is_checked_as_well():
    masking = dict(type='RandomMasking', mask_ratio=0.5, unit=2)
    config = HOSTS['ibot_swin'] | dict(masking=masking, masking_before=dict(type='GridMasking'))
    with pytest.raises(ValueError, match='of which GridMasking may hide parts; use a masking with unit=2'):
        MODELS.build(copy.deepcopy(config))
    thrower = dict(type='AttentionDrivenMasking', mask_ratio=0.3, throw_ratio=0.2)
    with pytest.raises(ValueError, match='restoration needs a token for every patch'):
        MODELS.build(copy.deepcopy(HOSTS['mst'] | dict(masking=masking, masking_before=thrower)))


@pytest.mark.parametrize(('hidden', 'throw_ratio'), [('drop', 0.0), ('replace', 0.2)])
def test_a_mean_of_tokens_must_be_over_all_of_them(hidden, throw_ratio):
    config = HOSTS['dino'] | dict(
        backbone=VIT | dict(hidden=hidden, with_cls_token=False, out_type='avg_featmap'),
        masking=dict(type='AttentionDrivenMasking', mask_ratio=0.3, throw_ratio=throw_ratio),
        saliency=dict(type='AttentionBank', image_size=32),
    )
    with pytest.raises(ValueError, match=r'without a \[CLS\] token the mean of all tokens is the feature of a view'):
        MODELS.build(copy.deepcopy(config))
