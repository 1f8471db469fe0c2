"""Cascade Mask R-CNN on ViT-S/16, COCO, 12 epochs: iBOT's setting, in which AttMask was measured.

Published, box / mask AP, most likely after 100 epochs of pre-training: iBOT 48.2 / 41.8, with AttMask 48.8 / 42.0.

tools/dist_train.sh configs/benchmarks/detection/cascade-mask-rcnn_vit-small-p16_8xb4-amp-ms-crop-1x_coco.py 8 \
    --data COCO --pretrained CKPT
"""

# Its heads (4conv1fc, GIoU on decoded boxes) and its crops are iBOT's.
_base_ = 'mmdet::convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
custom_imports = dict(imports=['mimselfsup.transfer.detection'], allow_failed_imports=False)

checkpoint_file = None  # of the base's backbone
model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedViT',
        arch='small',
        img_size=(800, 1008),  # positions are resized to 50 x 63 when they are loaded, and trained there
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        drop_path_rate=0.1,
    ),
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim=384, norm_cfg=dict(type='SyncBN', requires_grad=True)),
        dict(type='FPN', in_channels=[384, 384, 384, 384], out_channels=256, num_outs=5),
    ],
)
train_dataloader = dict(batch_size=4)
val_evaluator = dict(type='mimselfsup.FasterCocoMetric')
test_evaluator = val_evaluator
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[8, 11], gamma=0.1),
]
# Float16 as published, not bfloat16: mmdet casts boxes to the type of FPN's maps, and bfloat16 has steps of 4 px there.
optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mimselfsup.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
auto_scale_lr = dict(enable=True, base_batch_size=32)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
