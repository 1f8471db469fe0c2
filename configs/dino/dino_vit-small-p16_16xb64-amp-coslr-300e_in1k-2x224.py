"""DINO, ViT-S/16, ImageNet-1k, 300 epochs, two global views and no local ones. Published: 67.9 k-NN, 72.5 linear."""

_base_ = './dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_scale=(0.14, 1.0), num_local=0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
_, param_scheduler, _ = adamw_cosine(
    epochs=300, batch_size=1024, base_lr=5e-4, min_lr=1e-5 * 256 / 1024, **_base_.recipe
)
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(type='mimselfsup.GradientRulesHook', clip_per_tensor=None)
