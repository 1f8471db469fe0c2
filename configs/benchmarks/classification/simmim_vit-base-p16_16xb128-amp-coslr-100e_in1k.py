"""SimMIM's fine-tuning, ViT-B. Published: 83.8.

tools/dist_train.sh configs/benchmarks/classification/simmim_vit-base-p16_16xb128-amp-coslr-100e_in1k.py 16 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    type='ImageClassifier',
    # Every block gets a copy of the table of positions that all shared in pre-training.
    backbone=dict(
        type='mimselfsup.RelativeViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        layer_scale_init_value=0.1,
        out_type='avg_featmap',
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100,
    warmup_epochs=20,
    base_lr=1.25e-3,
    batch_size=2048,
    lr_unit=512,
    layer_decay=0.65,
    min_lr=2.5e-7 * 2048 / 512,
    warmup_lr=2.5e-7 * 2048 / 512,
    clip_grad=5.0,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=2048)
