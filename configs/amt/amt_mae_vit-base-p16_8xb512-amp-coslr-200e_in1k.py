"""AMT's ablation, MAE, 200 epochs: 45% masked, 40% thrown from the middle. Published: 53.3 linear on Tiny ImageNet."""

_base_ = './amt_mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

_, param_scheduler, train_cfg = adamw_cosine(epochs=200, warmup_epochs=40, base_lr=1.5e-4, batch_size=4096)
