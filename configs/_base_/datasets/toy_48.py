"""The toy world of tools/make_scenes.py, or any folder of small pictures: 48 px, crops of 40% to 100%.

`--data DIR` takes any folder of images, or a text file that lists them; train/ inside it is used if it is there.
"""

data_preprocessor = dict(
    type='mmpretrain.SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='mimselfsup.EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mimselfsup.ImageFolder',
        data_root='data/toy',
        split='train',
        pipeline=[
            dict(type='mimselfsup.SeedSample'),
            dict(type='mimselfsup.LoadImage'),
            dict(
                type='mimselfsup.RandomResizedCrop',
                scale=48,
                crop_ratio_range=(0.4, 1.0),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='mmpretrain.RandomFlip', prob=0.5),
            dict(
                type='mmpretrain.PackInputs',
                meta_keys=('sample_idx', 'img_path', 'crop_box', 'crop_source', 'flip', 'flip_direction'),
            ),
        ],
    ),
)
