"""DINO, ViT-S/16, ImageNet-1k, 100 epochs, as the released code does by default. Published: 69.3 k-NN, 74.0 linear.

tools/dist_train.sh configs/dino/dino_vit-small-p16_8xb64-amp-coslr-100e_in1k.py 8 --data DIR
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
        hidden='drop',  # nothing is masked, so there is no mask token either
        weight_init='trunc_normal',
        drop_path_rate=0.1,  # of the student; the teacher has none
    ),
    projector=dict(type='Projector', num_prototypes=65536, norm_last_layer=True),
    loss=dict(type='CrossViewLoss', teacher_temp=0.04),
    momentum=0.996,
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_scale=(0.4, 1.0), local_scale=(0.05, 0.4), num_local=8)
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
recipe = dict(warmup_epochs=10, betas=(0.9, 0.999), weight_decay=0.04, final_weight_decay=0.4)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=100, batch_size=512, base_lr=5e-4, min_lr=1e-6 * 256 / 512, **recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=512)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mimselfsup.GradientRulesHook', clip_per_tensor=3.0, frozen=dict(last_layer=1)),
    dict(type='mimselfsup.DistillationMonitorHook'),
]
