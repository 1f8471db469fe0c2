"""ImageNet, or any folder of images, in the views of DINO and iBOT: 2 of 224 px and 10 of 96 px, own colours each.

`--data DIR` takes any folder of images, or a text file that lists them; train/ inside it is used if it is there.
"""

data_preprocessor = dict(
    type='mimselfsup.MultiCropPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    # Of the first global view, the second, and the local ones.
    blur_prob=(1.0, 0.1, 0.5),
    solarize_prob=(0.0, 0.2, 0.0),
    non_blocking=True,
)
train_pipeline = [
    dict(type='mimselfsup.SeedSample'),
    dict(type='mimselfsup.LoadImage'),
    dict(
        type='mimselfsup.MultiCrop',
        global_size=224,
        global_scale=(0.25, 1.0),
        local_size=96,
        local_scale=(0.05, 0.25),
        num_local=10,
    ),
    dict(
        type='mmpretrain.PackInputs',
        meta_keys=('sample_idx', 'img_path', 'crop_source', 'crop_boxes', 'flips'),
    ),
]
train_dataloader = dict(
    batch_size=64,
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
        with_label='if_any',  # nothing learns from them; they tell how clusters agree with classes
        pipeline=train_pipeline,
    ),
)
