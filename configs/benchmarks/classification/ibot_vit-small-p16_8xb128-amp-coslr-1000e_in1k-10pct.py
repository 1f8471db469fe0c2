"""iBOT's fine-tuning on 10% of ImageNet's labels, ViT-S, from the first layer of its projector.

tools/dist_train.sh configs/benchmarks/classification/ibot_vit-small-p16_8xb128-amp-coslr-1000e_in1k-10pct.py 8 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_10percent_224.py',
    '../../_base_/classification/vit-small_deit.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    neck=dict(type='mimselfsup.ProjectorStem', in_channels=384, hidden=2048),
    head=dict(in_channels=2048),
)
train_dataloader = dict(sampler=dict(type='RepeatAugSampler'))
# The rate at its peak is the lowest one: constant after the warm-up.
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=1000, base_lr=5e-6, batch_size=1024, **_base_.recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
train_cfg.update(val_interval=50)
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = [*_base_.custom_hooks, *_base_.average, dict(type='mimselfsup.PretrainedNeckHook')]
