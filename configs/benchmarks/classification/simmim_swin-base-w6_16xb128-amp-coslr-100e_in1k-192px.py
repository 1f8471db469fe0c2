"""SimMIM's fine-tuning, Swin-B at 192 px, the size of its pre-training. Published: 82.8."""

_base_ = './simmim_swin-base-w7_16xb128-amp-coslr-100e_in1k.py'

model = dict(backbone=dict(img_size=192, stage_cfgs=dict(block_cfgs=dict(window_size=6))))
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=192)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=219)  # 256 / 224 of 192
test_pipeline[2].update(crop_size=192)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
