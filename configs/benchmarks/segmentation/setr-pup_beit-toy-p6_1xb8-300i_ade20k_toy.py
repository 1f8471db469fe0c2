"""SETR-PUP at toy size, after BEiT."""

_base_ = ['./setr-pup_beit-base-p16_8xb2-amp-160k_ade20k-512x512.py', './_base_/toy.py']
custom_imports = _base_.toy.custom_imports

model = dict(
    data_preprocessor=dict(size=(72, 72)),
    backbone=dict(arch=_base_.toy.vit, img_size=72, patch_size=6, out_indices=(0, 1, 2, 3)),
    # Three steps of 2 from 6 px.
    decode_head=dict(in_channels=64, channels=32, num_convs=3, num_classes=11),
    auxiliary_head=[dict(head, in_channels=64, channels=32, num_classes=11) for head in _base_.model.auxiliary_head],
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
