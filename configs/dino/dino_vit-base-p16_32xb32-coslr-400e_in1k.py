"""DINO, ViT-B/16, ImageNet-1k, 400 epochs, the released model's settings. Published: 76.1 k-NN, 78.2 linear."""

_base_ = './dino_vit-small-p16_16xb64-coslr-800e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    backbone=dict(arch='base'),
    projector=dict(norm_last_layer=True),
    loss=dict(teacher_temp=dict(epochs=50)),
)
train_dataloader = dict(batch_size=32)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=400, batch_size=1024, base_lr=7.5e-4, min_lr=2e-6 * 256 / 1024, **_base_.recipe
)
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(type='mimselfsup.GradientRulesHook', clip_per_tensor=0.3, frozen=dict(last_layer=3))
