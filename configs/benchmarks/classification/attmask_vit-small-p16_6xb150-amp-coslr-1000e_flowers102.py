"""AttMask's fine-tuning on Flowers-102, ViT-S.

tools/dist_train.sh configs/benchmarks/classification/attmask_vit-small-p16_6xb150-amp-coslr-1000e_flowers102.py 6 \
    --data ROOT --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/flowers102_finetune_224.py',
    '../../_base_/classification/vit-small_deit.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(head=dict(num_classes=102))
train_dataloader = dict(batch_size=150, sampler=dict(type='RepeatAugSampler'))
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=1000, base_lr=7.5e-6, batch_size=900, **_base_.recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
train_cfg.update(val_interval=50)
custom_hooks = [*_base_.custom_hooks, *_base_.average]
