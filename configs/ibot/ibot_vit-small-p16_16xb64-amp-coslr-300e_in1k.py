"""iBOT, ViT-S/16, ImageNet-1k, 300 epochs. Published: 74.6 k-NN, 77.4 linear."""

_base_ = './ibot_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

model = dict(masking=dict(mask_ratio=(0.1, 0.5)))
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_scale=(0.32, 1.0), local_scale=(0.05, 0.32))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
_, param_scheduler, train_cfg = adamw_cosine(
    epochs=300, batch_size=1024, base_lr=5e-4, min_lr=1e-6 * 256 / 1024, **_base_.recipe
)
