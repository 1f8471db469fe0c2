"""SemanticMIM's fine-tuning after BEiT, as its code's: the mean of the patches. Published: 82.9; BEiT 82.2.

A baseline has one [CLS] token: --cfg-options model.backbone.num_cls_tokens=1
tools/dist_train.sh \
    configs/benchmarks/classification/semanticmim-beit-patch_vit-base-p16_8xb128-amp-coslr-100e_in1k.py 8 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    backbone=dict(num_cls_tokens=8, layer_scale_init_value=0.1),
    head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=20, base_lr=4e-3, batch_size=1024, lr_unit=1024, layer_decay=0.65
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
