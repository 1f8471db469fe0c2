"""ImageNet, or any folder of images, in the views of SimMIM's Swin: 192 px, crops of 67% to 100%, bilinear."""

_base_ = './imagenet_mae_224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=192, crop_ratio_range=(0.67, 1.0), interpolation='bilinear')
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
