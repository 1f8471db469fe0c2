"""UPerNet at toy size on a Swin of two stages."""

_base_ = ['./upernet_swin-tiny-w7_8xb2-160k_ade20k-512x512.py', './_base_/toy.py']
custom_imports = _base_.toy.custom_imports

model = dict(
    data_preprocessor=dict(size=(72, 72)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=48, depths=[2, 2], num_heads=[2, 4]),
        img_size=48,
        out_indices=(0, 1),
        stage_cfgs=dict(block_cfgs=dict(window_size=4)),
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=[48, 96], in_index=[0, 1], channels=64, num_classes=11),
    auxiliary_head=dict(in_channels=96, in_index=1, channels=32, num_classes=11),
    test_cfg=_base_.toy.test_cfg,
)
train_dataloader = _base_.toy.ade20k.train
val_dataloader = _base_.toy.ade20k.val
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = _base_.toy.param_scheduler
train_cfg = _base_.toy.train_cfg
default_hooks = _base_.toy.default_hooks
auto_scale_lr = dict(base_batch_size=8)
