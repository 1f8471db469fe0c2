"""As imagenet_probe_224.py, in the views of fine-tuning: bicubic crops, RandAugment, erasing, mixup or CutMix."""

_base_ = './imagenet_probe_224.py'

data_preprocessor = dict(
    # One of the two for each batch, with equal chances.
    batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(interpolation='bicubic')
train_pipeline[4:4] = [
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        total_level=10,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),  # BGR, as the images are here
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
