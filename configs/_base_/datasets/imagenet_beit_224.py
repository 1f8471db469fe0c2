"""ImageNet, or any folder of images, in the views of BEiT: one crop of 8% to 100%, colours changed, in two sizes.

224 px are for the encoder and 112 px for DALL-E's tokenizer, which has a code for every 8 x 8 pixels.
"""

_base_ = './imagenet_mae_224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2:4] = [
    dict(type='mmpretrain.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(
        type='mimselfsup.TwoSizeCrop',
        scale=224,
        second_scale=112,
        crop_ratio_range=(0.08, 1.0),
        backend='pillow',
        interpolation='bicubic',
        second_interpolation='lanczos',
        flip_prob=0.5,
    ),
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
