"""UPerNet at a size that a CPU trains in minutes, on the toy world: for MAE, SimMIM, MaskFeat and AMT at toy size.

python tools/train.py configs/benchmarks/segmentation/upernet_vit-toy-p6_1xb8-300i_ade20k_toy.py --pretrained CKPT
"""

_base_ = ['./upernet_vit-base-p16_8xb2-160k_ade20k-640x640.py', './_base_/toy.py']
custom_imports = _base_.toy.custom_imports

model = dict(
    data_preprocessor=dict(size=(72, 72)),
    backbone=dict(arch=_base_.toy.vit, img_size=72, patch_size=6, out_indices=(0, 1, 2, 3)),
    neck=dict(embed_dim=64),
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=11),
    auxiliary_head=dict(in_channels=64, channels=32, num_classes=11),
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
