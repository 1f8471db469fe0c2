"""MAE's linear probe, ViT-L: 50 epochs are enough. Published: 75.8."""

_base_ = './mae_vit-base-p16_32xb512-amp-linear-coslr-90e_in1k.py'
from mimselfsup.engine.schedules import lars_cosine

model = dict(backbone=dict(arch='large', patch_size=16))
_, param_scheduler, train_cfg = lars_cosine(epochs=50, warmup_epochs=10, base_lr=0.1, batch_size=16384)
