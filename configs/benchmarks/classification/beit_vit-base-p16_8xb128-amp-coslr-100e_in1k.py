"""BEiT's fine-tuning, ViT-B. Published: 83.2 (800 epochs), 83.1 (300 epochs, mmpretrain).

BEiT's own code normalises by 0.5 and 0.5 in both stages. Here the statistics are those of the pre-training config,
ImageNet's. For theirs:
--cfg-options data_preprocessor.mean="[127.5,127.5,127.5]" data_preprocessor.std="[127.5,127.5,127.5]"

tools/dist_train.sh configs/benchmarks/classification/beit_vit-base-p16_8xb128-amp-coslr-100e_in1k.py 8 \
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
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=20, base_lr=4e-3, batch_size=1024, lr_unit=1024, layer_decay=0.65, warmup_lr=1e-6
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=1024)
