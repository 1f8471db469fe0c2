"""The toy world of tools/make_scenes.py, or any folder of small pictures: 48 px, crops of 40% to 100%."""

_base_ = './imagenet_mae_224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=48, crop_ratio_range=(0.4, 1.0))
train_dataloader = dict(batch_size=64, num_workers=2, dataset=dict(data_root='data/toy', pipeline=train_pipeline))
