"""MaskFeat, ViT-B/16, ImageNet-1k, 1600 epochs. Published: 84.0 fine-tuned."""

_base_ = './maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

_, param_scheduler, train_cfg = adamw_cosine(
    epochs=1600, warmup_epochs=30, base_lr=1.6e-3, batch_size=2048, lr_unit=2048, min_lr=1e-6, warmup_lr=1e-6
)
