"""ViT-B after AMT on SimMIM, fine-tuned on a small data set by the recipe of ImageNet, which is our assumption."""

_base_ = './vit-base_finetune.py'
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    backbone=dict(out_type='cls_token', final_norm=True, layer_scale_init_value=0.1),
    head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100,
    warmup_epochs=20,
    base_lr=1.25e-3,
    batch_size=1024,
    lr_unit=512,
    layer_decay=0.65,
    min_lr=2.5e-7 * 1024 / 512,
    warmup_lr=2.5e-7 * 1024 / 512,
    clip_grad=5.0,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
