"""AMT's SimMIM host and baseline: ViT-B/16 with absolute positions, 200 epochs. Published: 81.5 fine-tuned."""

_base_ = '../simmim/simmim_vit-base-p16_16xb128-amp-steplr-800e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

model = dict(backbone=dict(position='learned'))
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=200,
    warmup_epochs=10,
    base_lr=1e-4,
    batch_size=2048,
    lr_unit=512,
    betas=(0.9, 0.999),
    min_lr=5e-6,
    warmup_lr=5e-7,
    clip_grad=5.0,
    paramwise_cfg=_base_.no_decay,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
