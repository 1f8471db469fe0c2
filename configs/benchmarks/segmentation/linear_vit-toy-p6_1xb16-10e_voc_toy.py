"""Linear segmentation at toy size, on the toy world as PascalVOC: block 2 of 4, 96 px, a loss on 24 x 24.

python tools/train.py configs/benchmarks/segmentation/linear_vit-toy-p6_1xb16-10e_voc_toy.py --pretrained CKPT
"""

_base_ = ['./linear_vit-base-p16_8xb15-25e_voc12aug-448x448.py', './_base_/toy.py']

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(arch=dict(_base_.toy.vit, num_layers=2), img_size=48, patch_size=6),
    decode_head=dict(in_channels=64, channels=64, num_classes=11),
)
classes = dict(type='mimselfsup.SegmentationFileDataset', data_root='data/toy/voc', num_classes=11)
train_pipeline = [
    *_base_.toy_loading,
    dict(type='mimselfsup.RandomResizedCropWithLabels', scale=96, crop_ratio_range=(0.8, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mimselfsup.ResizeLabels', scale=(24, 24)),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    *_base_.toy_loading,
    dict(type='Resize', scale=(96, 96), keep_ratio=False, backend='pillow'),
    dict(type='mimselfsup.ScoreAtThisSize'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
        datasets=[dict(part, **classes, pipeline=train_pipeline) for part in _base_.train_dataloader.dataset.datasets]
    ),
)
val_dataloader = dict(batch_size=16, num_workers=2, dataset=dict(classes, pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=0.1))
auto_scale_lr = dict(base_batch_size=16)
param_scheduler = [dict(type='MultiStepLR', milestones=[4, 8], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=10)
