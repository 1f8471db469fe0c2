"""ImageNet, or any folder of images, in the views of DINO and iBOT: 2 of 224 px and 10 of 96 px, own colours each.

`--data DIR` takes any folder of images, or a text file that lists them; train/ inside it is used if it is there.
"""

_base_ = './imagenet_mae_224.py'

data_preprocessor = dict(
    type='mimselfsup.MultiCropPreprocessor',
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
    # Nothing learns from labels; they tell how clusters agree with classes.
    dataset=dict(with_label='if_any', pipeline=train_pipeline),
)
