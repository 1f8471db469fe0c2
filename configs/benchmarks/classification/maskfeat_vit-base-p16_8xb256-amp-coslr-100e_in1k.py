"""MaskFeat's fine-tuning, ViT-B, as mmpretrain's, with colour jitter. Published: 83.6 (paper), 83.4 (mmpretrain).

tools/dist_train.sh configs/benchmarks/classification/maskfeat_vit-base-p16_8xb256-amp-coslr-100e_in1k.py 8 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

train_pipeline = _base_.train_pipeline
train_pipeline.insert(5, dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4))
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=20, base_lr=8e-3, batch_size=2048, lr_unit=2048, layer_decay=0.65, warmup_lr=1e-8
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=2048)
