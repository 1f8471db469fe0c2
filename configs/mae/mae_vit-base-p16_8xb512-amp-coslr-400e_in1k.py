"""MAE, ViT-B/16, ImageNet-1k, 400 epochs. Published: 83.3 fine-tuned, 62.5 linear (mmpretrain)."""

_base_ = './mae_vit-base-p16_8xb512-amp-coslr-800e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

_, param_scheduler, train_cfg = adamw_cosine(epochs=400, warmup_epochs=40, base_lr=1.5e-4, batch_size=4096)
