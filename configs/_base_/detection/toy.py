"""What the detectors of toy size take instead of COCO: a world of tools/make_scenes.py, at 96 px.

They need 10 classes; the drawn world has as many. With this go custom_imports of mimselfsup.transfer.detection.
"""

scenes_for_training = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mimselfsup.CocoFileDataset',
        num_classes=10,
        data_root='data/toy',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img=''),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='RandomResize', scale=(96, 96), ratio_range=(0.7, 1.4), keep_ratio=True),
            dict(
                type='RandomCrop',
                crop_type='absolute_range',
                crop_size=(96, 96),
                recompute_bbox=True,
                allow_negative_crop=True,
            ),
            dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='Pad', size=(96, 96), pad_val=dict(img=(128, 128, 128), masks=0, seg=255)),
            dict(type='PackDetInputs'),
        ],
    ),
)
scenes_for_validation = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mimselfsup.CocoFileDataset',
        num_classes=10,
        data_root='data/toy',
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img=''),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
    ),
)
scenes_metric = dict(
    type='mimselfsup.FasterCocoMetric', ann_file='data/toy/annotations/instances_val.json', metric=['bbox', 'segm']
)
