"""Naive SETR at toy size, on the toy world as Cityscapes."""

_base_ = ['./setr-naive_vit-small-p16_8xb1-40k_cityscapes-768x768.py', './_base_/toy.py']
custom_imports = _base_.toy.custom_imports

model = dict(
    data_preprocessor=dict(size=(72, 72)),
    backbone=dict(arch=_base_.toy.vit, img_size=72, patch_size=8, out_indices=(0, 1, 2, 3)),
    decode_head=dict(in_channels=64, channels=32, num_classes=11),
    auxiliary_head=[dict(head, in_channels=64, channels=32, num_classes=11) for head in _base_.model.auxiliary_head],
    test_cfg=_base_.toy.test_cfg,
)
train_dataloader = _base_.toy.cityscapes.train
val_dataloader = _base_.toy.cityscapes.val
test_dataloader = val_dataloader
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=300, by_epoch=False)]
train_cfg = _base_.toy.train_cfg
default_hooks = _base_.toy.default_hooks
auto_scale_lr = dict(base_batch_size=8)
