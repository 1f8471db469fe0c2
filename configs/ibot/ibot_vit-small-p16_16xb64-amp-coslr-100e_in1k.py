"""iBOT, ViT-S/16, ImageNet-1k, 100 epochs. Published: 71.5 k-NN, 74.4 linear.

On each of two nodes, with NODE_RANK=0 and 1:
NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 PORT=29500 \
    tools/dist_train.sh configs/ibot/ibot_vit-small-p16_16xb64-amp-coslr-100e_in1k.py 8 --data DIR
"""

_base_ = ['../_base_/datasets/imagenet_multicrop_224.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    type='SelfDistillation',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type='MaskedViT',
        arch='small',
        img_size=224,
        patch_size=16,
        hidden='replace',
        weight_init='trunc_normal',
        drop_path_rate=0.1,  # of the student; the teacher has none
    ),
    projector=dict(type='Projector', num_prototypes=8192, norm_last_layer=False),  # of [CLS] and of patches
    loss=dict(type='CrossViewLoss', teacher_temp=dict(start=0.04, end=0.07, epochs=30)),
    patch_loss=dict(type='MaskedPatchLoss', teacher_temp=dict(start=0.04, end=0.07, epochs=30)),
    # Half of the views stay whole; in the others blocks hide up to 58 of 196 patches.
    masking=dict(type='BlockMasking', mask_ratio=0.3, mask_prob=0.5, exact=False, min_block=16),
    momentum=0.996,
)
recipe = dict(warmup_epochs=10, betas=(0.9, 0.999), weight_decay=0.04, final_weight_decay=0.4)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=100, batch_size=1024, base_lr=5e-4, min_lr=1e-6 * 256 / 1024, **recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mimselfsup.GradientRulesHook', clip_per_tensor=3.0, frozen=dict(last_layer=1)),
    dict(type='mimselfsup.DistillationMonitorHook'),
]
