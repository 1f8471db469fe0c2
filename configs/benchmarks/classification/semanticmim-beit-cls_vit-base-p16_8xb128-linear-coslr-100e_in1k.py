"""SemanticMIM's linear probe, on BEiT: the mean of the 8 proxies after block 7. Published: 49.2.

A baseline has one [CLS] token: --cfg-options model.backbone.num_cls_tokens=1 (published: 31.5).
tools/dist_train.sh \
    configs/benchmarks/classification/semanticmim-beit-cls_vit-base-p16_8xb128-linear-coslr-100e_in1k.py 8 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_probe_bicubic_224.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    type='mimselfsup.LinearProbe',
    # The first 7 blocks of ViT-B; the others, and the final norm, are left out when the weights are loaded.
    backbone=dict(
        type='mimselfsup.MaskedViT',
        arch=dict(embed_dims=768, num_layers=7, num_heads=12, feedforward_channels=3072),
        img_size=224,
        patch_size=16,
        num_cls_tokens=8,
        final_norm=False,
        layer_scale_init_value=0.1,
    ),
    feature=dict(cls=1),
    norm='layer',
    head=dict(type='LinearClsHead', num_classes=1000, init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),
)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=100,
    warmup_epochs=0,
    base_lr=4e-3,
    batch_size=1024,
    lr_unit=1024,
    betas=(0.9, 0.999),
    weight_decay=1e-4,
    paramwise_cfg={},  # the bias decays too
)
auto_scale_lr = dict(base_batch_size=1024)
