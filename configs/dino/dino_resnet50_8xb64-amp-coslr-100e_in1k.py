"""DINO, ResNet-50, ImageNet-1k, 100 epochs with SGD, the command of the released code. Not published: accuracies.

tools/dist_train.sh configs/dino/dino_resnet50_8xb64-amp-coslr-100e_in1k.py 8 --data DIR
"""

_base_ = './dino_vit-small-p16_8xb64-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    backbone=dict(
        _delete_=True,
        type='TokenResNet',
        depth=50,
        zero_init_residual=False,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    )
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_scale=(0.14, 1.0), local_scale=(0.05, 0.14))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
recipe = dict(weight_decay=1e-4, final_weight_decay=None)
optim_wrapper, param_scheduler, _ = adamw_cosine(
    epochs=100, batch_size=512, base_lr=0.03, min_lr=1e-6 * 256 / 512, **_base_.recipe | recipe
)
sgd = dict(_delete_=True, type='SGD', lr=optim_wrapper['optimizer']['lr'], momentum=0.9, weight_decay=1e-4)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper', optimizer=sgd)
