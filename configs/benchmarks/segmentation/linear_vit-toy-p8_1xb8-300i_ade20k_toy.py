"""iBOT's linear probe of dense features at toy size."""

_base_ = ['./linear_vit-small-p16_4xb4-amp-160k_ade20k-512x512.py', './_base_/toy.py']
custom_imports = _base_.toy.custom_imports

model = dict(
    data_preprocessor=dict(size=(72, 72)),
    backbone=dict(arch=_base_.toy.vit, img_size=48, patch_size=8, out_indices=(0, 1, 2, 3)),
    decode_head=dict(in_channels=[64] * 4, channels=4 * 64, num_classes=11),
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
