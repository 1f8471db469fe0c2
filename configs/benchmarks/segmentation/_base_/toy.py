"""Entries that the toy configs put over those of the recipe that each inherits: networks, data and 300 iterations.

Scenes at 96 px, crops and windows of 72 (ADE20K, Cityscapes), so that windows overlap as they do at full size.

python tools/make_scenes.py data/toy --layouts folder coco semantic ade20k cityscapes voc
"""

num_classes = 11  # background and ten shapes
toy_loading = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
toy_train_pipeline = [
    *toy_loading,
    dict(type='RandomResize', scale=(384, 96), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(72, 72), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
toy_test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(384, 96), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
toy_ade20k = dict(
    type='mimselfsup.SegmentationFileDataset',
    data_root='data/toy/ade20k',
    num_classes=num_classes,
    reduce_zero_label=True,
)
toy_cityscapes = dict(
    type='mimselfsup.SegmentationFileDataset',
    data_root='data/toy/cityscapes',
    num_classes=num_classes,
    img_suffix='_leftImg8bit.png',
    seg_map_suffix='_gtFine_labelTrainIds.png',
)
toy = dict(
    custom_imports=dict(imports=['mimselfsup.transfer.segmentation'], allow_failed_imports=False),
    # The encoders of the toy pre-trainings, of 6 or 8 px patches.
    vit=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
    ade20k=dict(
        train=dict(batch_size=8, num_workers=2, dataset=dict(toy_ade20k, pipeline=toy_train_pipeline)),
        val=dict(num_workers=2, dataset=dict(toy_ade20k, pipeline=toy_test_pipeline)),
    ),
    cityscapes=dict(
        train=dict(batch_size=8, num_workers=2, dataset=dict(toy_cityscapes, pipeline=toy_train_pipeline)),
        val=dict(num_workers=2, dataset=dict(toy_cityscapes, pipeline=toy_test_pipeline)),
    ),
    test_cfg=dict(mode='slide', crop_size=(72, 72), stride=(48, 48)),
    train_cfg=dict(max_iters=300, val_interval=150),
    param_scheduler=[
        dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=20),
        dict(type='PolyLR', power=1.0, begin=20, end=300, eta_min=0.0, by_epoch=False),
    ],
    default_hooks=dict(checkpoint=dict(interval=150)),
)
