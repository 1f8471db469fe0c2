"""ImageNet, or any folder of images, in the views of MAE: 224 px, crops of 20% to 100%, bicubic.

`--data DIR` takes any folder of images, or a text file that lists them; train/ inside it is used if it is there.
"""

data_preprocessor = dict(
    type='mmpretrain.SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_pipeline = [
    dict(type='mimselfsup.SeedSample'),
    dict(type='mimselfsup.LoadImage'),
    dict(
        type='mimselfsup.RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.RandomFlip', prob=0.5),
    dict(
        type='mmpretrain.PackInputs',
        meta_keys=('sample_idx', 'img_path', 'crop_box', 'crop_source', 'flip', 'flip_direction'),
    ),
]
train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='mimselfsup.EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mimselfsup.ImageFolder',
        data_root='data/imagenet',
        split='train',
        pipeline=train_pipeline,
    ),
)
