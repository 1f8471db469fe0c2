"""The toy world of tools/make_scenes.py at 48 px, in the views of linear probes."""

_base_ = './imagenet_probe_bicubic_224.py'

data_preprocessor = dict(num_classes=10)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=48, crop_ratio_range=(0.4, 1.0))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=55)  # 256 / 224 of 48
test_pipeline[2].update(crop_size=48)
train_dataloader = dict(batch_size=64, num_workers=2, dataset=dict(data_root='data/toy', pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(data_root='data/toy', pipeline=test_pipeline))
test_dataloader = val_dataloader
