"""Linear segmentation on PascalVOC at 448 px: one linear layer on block 6 of a frozen ViT-B/16, as SemanticMIM.

Published: 37.8 mIoU after MaskFeat with random masking.

tools/dist_train.sh configs/benchmarks/segmentation/linear_vit-base-p16_8xb15-25e_voc12aug-448x448.py 8 \
    --pretrained CKPT
"""

_base_ = ['mmseg::_base_/datasets/pascal_voc12_aug.py', 'mmseg::_base_/default_runtime.py']
custom_imports = dict(imports=['mimselfsup.transfer.segmentation'], allow_failed_imports=False)

model = dict(
    type='mimselfsup.LinearSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(448, 448),
    ),
    # The first six of its twelve blocks, without the norm after the last.
    backbone=dict(
        type='mimselfsup.MaskedViT',
        arch=dict(embed_dims=768, num_layers=6, num_heads=12, feedforward_channels=3072),
        img_size=224,
        patch_size=16,
        out_type='featmap',
        final_norm=False,
    ),
    # Drawn from N(0, 0.01), without a bias at first. It commutes with the resize of what it reads.
    decode_head=dict(
        type='FCNHead',
        in_channels=768,
        channels=768,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=21,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='mimselfsup.RandomResizedCropWithLabels', scale=448, crop_ratio_range=(0.8, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mimselfsup.ResizeLabels', scale=(100, 100)),
    dict(type='PackSegInputs'),
]
# Pictures are squashed, and scored as they then are.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(448, 448), keep_ratio=False, backend='pillow'),
    dict(type='mimselfsup.ScoreAtThisSize'),
    dict(type='PackSegInputs'),
]
train_set, aug_set = _base_.dataset_train, _base_.dataset_aug
train_set.update(pipeline=train_pipeline)
aug_set.update(pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=15,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(datasets=[train_set, aug_set]),
)
val_dataloader = dict(batch_size=15, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0))
auto_scale_lr = dict(base_batch_size=120)
param_scheduler = [dict(type='MultiStepLR', milestones=[10, 20], gamma=0.1, by_epoch=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=25, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=5, save_best='mIoU', rule='greater', max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
# The best epoch is what is published.
custom_hooks = [dict(type='mimselfsup.BestAndLastHook', metric='mIoU')]
log_processor = dict(by_epoch=True)
