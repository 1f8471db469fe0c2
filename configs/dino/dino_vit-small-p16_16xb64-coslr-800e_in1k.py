"""DINO, ViT-S/16, ImageNet-1k, 800 epochs, the released model's settings. Published: 74.5 k-NN, 77.0 linear."""

_base_ = './dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_scale=(0.25, 1.0), local_scale=(0.05, 0.25), num_local=10)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# In full precision, without clipping.
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=800, batch_size=1024, base_lr=5e-4, min_lr=1e-5 * 256 / 1024, **_base_.recipe
)
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(type='mimselfsup.GradientRulesHook', clip_per_tensor=None)
