"""iBOT's fine-tuning, ViT-B, on [CLS]. Published: 84.0 (blocks), 84.1 (random). For DINO, MST and AttMask as well.

tools/dist_train.sh configs/benchmarks/classification/ibot_vit-base-p16_8xb128-amp-coslr-100e_in1k.py 8 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mimselfsup.MaskedViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.2,
        out_type='cls_token',
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
)
recipe = dict(base_lr=4e-3, batch_size=1024, lr_unit=1024, warmup_lr=1e-6)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(epochs=100, warmup_epochs=20, layer_decay=0.65, **recipe)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=1024)
