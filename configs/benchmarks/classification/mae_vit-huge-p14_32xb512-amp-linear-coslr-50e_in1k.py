"""MAE's linear probe, ViT-H: 50 epochs are enough. Published: 76.6."""

_base_ = './mae_vit-base-p16_32xb512-amp-linear-coslr-90e_in1k.py'
from mimselfsup.engine.schedules import lars_cosine

model = dict(backbone=dict(arch='huge', patch_size=14))
_, param_scheduler, train_cfg = lars_cosine(epochs=50, warmup_epochs=10, base_lr=0.1, batch_size=16384)
