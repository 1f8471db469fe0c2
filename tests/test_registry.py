"""Scopes: what a config of one framework may name of another. Things are built, and are the right class."""

import importlib

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope, init_default_scope

import mimselfsup  # noqa: F401
from mimselfsup import registry
from mimselfsup.structures import TokenMask

SMALL_VIT = dict(
    arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=24), img_size=32, patch_size=16
)


@pytest.fixture
def scope():
    """Switches the default scope, as ``default_scope = ...`` in a config does, and back."""
    before = DefaultScope.get_current_instance()
    yield init_default_scope
    init_default_scope(before.scope_name if before else 'mmengine')


def of(package, name):
    return getattr(importlib.import_module(f'{package}.registry'), name)


FRAMEWORKS = ['mmpretrain', 'mmdet', 'mmseg', 'mimselfsup']


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_our_backbone_is_built_from_their_registries(scope, framework):
    scope(framework)
    model = of(framework, 'MODELS').build(dict(type='mimselfsup.MaskedViT', **SMALL_VIT))
    assert type(model).__module__ == 'mimselfsup.models.backbones.masked_vit'
    assert model(torch.zeros(1, 3, 32, 32))[0].shape == (1, 24)


@pytest.mark.parametrize('framework', FRAMEWORKS)
@pytest.mark.parametrize(
    'kind, config',
    [
        ('DATASETS', dict(type='mimselfsup.ImageFolder')),
        ('TRANSFORMS', dict(type='mimselfsup.SeedSample')),
        ('HOOKS', dict(type='mimselfsup.TrainingProgressHook')),
        ('DATA_SAMPLERS', dict(type='mimselfsup.EpochSampler')),
        ('RUNNERS', dict(type='mimselfsup.Runner')),
    ],
)
def test_our_other_types_are_found_from_their_registries(scope, framework, kind, config):
    scope(framework)
    found = of(framework, kind).get(config['type'])
    assert found is not None and found.__module__.startswith('mimselfsup.')


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_masking_strategies_are_built_under_any_scope(scope, framework):
    """MASKINGS exists only here, so a plain name has to do even where the default scope is another's."""
    scope(framework)
    for name in ('RandomMasking', 'mimselfsup.RandomMasking'):
        mask = registry.MASKINGS.build(dict(type=name, mask_ratio=0.75))(grid=(4, 4), batch_size=2)
        assert isinstance(mask, TokenMask)
        assert mask.masked.sum(1).tolist() == [12, 12]


def test_a_vit_of_mmpretrain_from_here(scope):
    scope('mimselfsup')
    model = registry.MODELS.build(dict(type='mmpretrain.VisionTransformer', **SMALL_VIT))
    assert type(model).__module__ == 'mmpretrain.models.backbones.vision_transformer'


def test_a_transform_of_mmpretrain_from_here(scope):
    scope('mimselfsup')
    flip = registry.TRANSFORMS.build(dict(type='mmpretrain.RandomFlip', prob=1.0))
    image = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3).numpy()
    assert (flip(dict(img=image.copy()))['img'] == image[:, ::-1]).all()


def test_a_detector_of_mmdet_around_our_backbone(scope):
    """Its own parts are named without a prefix, which holds with `_scope_`; ours has one."""
    scope('mimselfsup')
    head = dict(type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=8, num_classes=2)
    coder = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4)
    align = dict(type='RoIAlign', sampling_ratio=0)
    config = dict(
        type='mmdet.MaskRCNN',
        _scope_='mmdet',
        backbone=dict(type='mimselfsup.MaskedViT', **SMALL_VIT, out_type='featmap'),
        neck=dict(type='ChannelMapper', in_channels=[24], out_channels=8, kernel_size=1),
        rpn_head=dict(
            type='RPNHead',
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(type='AnchorGenerator', scales=[1], ratios=[1.0], strides=[16]),
            bbox_coder=coder,
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor',
                roi_layer=dict(output_size=7, **align),
                out_channels=8,
                featmap_strides=[16],
            ),
            bbox_head=dict(bbox_coder=coder, **head),
            mask_roi_extractor=dict(
                type='SingleRoIExtractor',
                roi_layer=dict(output_size=14, **align),
                out_channels=8,
                featmap_strides=[16],
            ),
            mask_head=dict(type='FCNMaskHead', num_convs=1, in_channels=8, conv_out_channels=8, num_classes=2),
        ),
        train_cfg=None,
        test_cfg=dict(
            rpn=dict(nms_pre=20, max_per_img=5, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
            rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=3, mask_thr_binary=0.5),
        ),
    )
    detector = registry.MODELS.build(ConfigDict(config)).eval()
    assert type(detector).__module__ == 'mmdet.models.detectors.mask_rcnn'
    assert type(detector.backbone).__module__ == 'mimselfsup.models.backbones.masked_vit'

    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=(32, 32), ori_shape=(32, 32), scale_factor=(1.0, 1.0)))
    with torch.no_grad():
        found = detector.predict(torch.randn(1, 3, 32, 32), [sample])[0].pred_instances
    # Through NMS and RoIAlign, compiled or stood in for.
    assert len(found.bboxes) == 3 and found.masks.shape == (3, 32, 32)


def test_a_segmentor_of_mmseg_around_our_backbone(scope):
    scope('mimselfsup')
    segmentor = registry.MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            _scope_='mmseg',
            backbone=dict(type='mimselfsup.MaskedViT', **SMALL_VIT, out_type='featmap'),
            decode_head=dict(
                type='UPerHead',
                in_channels=[24],
                in_index=[0],
                pool_scales=(1, 2),
                channels=8,
                num_classes=3,
                norm_cfg=dict(type='BN'),
                loss_decode=dict(type='CrossEntropyLoss'),
            ),
            test_cfg=dict(mode='whole'),
        )
    ).eval()
    assert type(segmentor.decode_head).__module__ == 'mmseg.models.decode_heads.uper_head'
    assert type(segmentor.backbone).__module__ == 'mimselfsup.models.backbones.masked_vit'
    with torch.no_grad():
        assert segmentor.encode_decode(torch.randn(1, 3, 32, 32), [dict(img_shape=(32, 32))]).shape[1] == 3
