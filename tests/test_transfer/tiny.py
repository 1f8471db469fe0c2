"""A detector and a segmentor of some thousand parameters, from mmdet's and mmseg's own configs, on a toy world."""

import itertools
from argparse import Namespace
from pathlib import Path

from mimselfsup.datasets.scenes import write_scenes
from mimselfsup.engine import Runner
from mimselfsup.engine.launch import load_config, prepare_config

SIDE, CLASSES = 48, 3
_NUMBERS = itertools.count()

BACKBONE = f"""
backbone=dict(
    _delete_=True, type='mimselfsup.MaskedViT', img_size={SIDE}, patch_size=8, out_type='featmap', final_norm=False,
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)),
"""

DETECTOR = f"""
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mimselfsup.transfer.detection'])
model = dict(
    {BACKBONE}
    neck=dict(_delete_=True, type='FPN', in_channels=[24], out_channels=16, num_outs=2),
    rpn_head=dict(
        in_channels=16, feat_channels=16,
        anchor_generator=dict(scales=[2, 4], ratios=[1.0], strides=[8, 16])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16, featmap_strides=[8]),
        mask_roi_extractor=dict(out_channels=16, featmap_strides=[8]),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes={CLASSES}),
        mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1, num_classes={CLASSES})),
    train_cfg=dict(rpn_proposal=dict(max_per_img=30), rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rpn=dict(max_per_img=20)))
dataset = dict(
    type='mimselfsup.CocoFileDataset', num_classes={CLASSES}, data_root='data/coco/', serialize_data=False,
    data_prefix=dict(_delete_=True, img=''))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=({SIDE}, {SIDE}), ratio_range=(0.8, 1.2), keep_ratio=True),
    dict(type='RandomCrop', crop_size=({SIDE}, {SIDE}), recompute_bbox=True, allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    ann_file='annotations/instances_train.json', pipeline=pipeline, **dataset))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=({SIDE}, {SIDE}), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    ann_file='annotations/instances_val.json', pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(type='FasterCocoMetric', ann_file='data/coco/annotations/instances_val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3))
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=2))
log_processor = dict(window_size=1)
"""

SEGMENTOR = f"""
_base_ = 'mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py'
custom_imports = dict(imports=['mimselfsup.transfer.segmentation'])
model = dict(
    data_preprocessor=dict(size=({SIDE}, {SIDE})),
    pretrained=None,
    {BACKBONE}
    decode_head=dict(in_channels=24, in_index=0, channels=16, num_convs=1, num_classes={CLASSES + 1}),
    auxiliary_head=dict(in_channels=24, in_index=0, channels=16, num_classes={CLASSES + 1}))
dataset = dict(
    type='mimselfsup.SegmentationFileDataset', num_classes={CLASSES + 1}, data_root='data/VOCdevkit/VOC2012',
    serialize_data=False,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=({SIDE}, {SIDE}), ratio_range=(1.0, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=({SIDE}, {SIDE}), cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    _delete_=True, ann_file='ImageSets/Segmentation/trainaug.txt', pipeline=pipeline, **dataset))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
val_dataloader = dict(num_workers=0, dataset=dict(
    _delete_=True, ann_file='ImageSets/Segmentation/val.txt', pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
log_processor = dict(window_size=1)
"""


def write_world(root: Path) -> Path:
    """8 training pictures and 5 for validation, an odd number for two processes."""
    write_scenes(
        root, 8, 5, size=SIDE, classes=CLASSES, num_objects=(1, 2), workers=1, quiet=True, layouts=('coco', 'voc')
    )
    return root


class Project:
    """Trains and tests the two in this process, with their files in ``folder``."""

    def __init__(self, folder: Path, world: Path) -> None:
        self.folder, self.world = folder, world
        for name, text in (('detector', DETECTOR), ('segmentor', SEGMENTOR)):
            (folder / f'{name}.py').write_text(text)

    def data(self, name: str) -> str:
        return str(self.world / 'voc' if name == 'segmentor' else self.world)

    def prepare(self, name: str, work_dir: str = 'run', training: bool = True, cfg_options=None, **options):
        # MMEngine's loggers and visualizers are global, the first by a name that has only the second of the start.
        unique = f'{name}{next(_NUMBERS)}'
        cfg_options = {'experiment_name': unique, 'visualizer.name': unique, **(cfg_options or {})}
        path = str(self.folder / f'{name}.py')
        options = dict(config=path, work_dir=str(self.folder / work_dir), data=self.data(name)) | options
        return prepare_config(self.load(path, cfg_options, training, options), Namespace(**options), training)

    @staticmethod
    def load(path: str, cfg_options: dict, training: bool, options: dict):
        cfg = load_config(path, cfg_options)
        if not training:
            for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
                cfg[key] = None
            cfg.load_from = options.pop('checkpoint')
        return cfg

    def train(self, name: str, **options) -> Runner:
        runner = Runner.from_cfg(self.prepare(name, **options))
        runner.train()
        return runner

    def test(self, name: str, checkpoint: Path, **options) -> dict[str, float]:
        runner = Runner.from_cfg(self.prepare(name, training=False, checkpoint=str(checkpoint), **options))
        runner.strict_load = True
        return runner.test()
