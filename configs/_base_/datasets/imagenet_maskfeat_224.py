"""ImageNet, or any folder of images, in the views of MaskFeat: 224 px, crops of 50% to 100%, colours as they are."""

_base_ = './imagenet_mae_224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(crop_ratio_range=(0.5, 1.0))
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
