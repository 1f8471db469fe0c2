"""Mask R-CNN on Swin-T, COCO, 12 epochs with short sides of 480 to 800 and crops: the 1x of Swin's authors.

Published, box / mask AP (table 2 of MST): supervised 43.7 / 39.8 (300 epochs), 41.6 / 38.4 (100), MoBY 41.5 / 38.3,
DINO 42.2 / 38.7, MST 42.7 / 38.8 (100). The first row is the number of Swin's authors with these settings; MST does not
say which of the two it has trained with.

tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_swin-tiny-w7_8xb2-ms-crop-1x_coco.py 8 \
    --data COCO --pretrained CKPT
"""

_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py'
custom_imports = dict(imports=['mimselfsup.transfer.detection'], allow_failed_imports=False)

pretrained = None  # a file to download in the base, and what --pretrained sets here
model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedSwin',
        arch='tiny',
        img_size=224,
        window_size=7,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
        pad_small_map=True,  # as mmdet's at every size
        with_mask_token=False,
    )
)
val_evaluator = dict(type='mimselfsup.FasterCocoMetric')
test_evaluator = val_evaluator
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[8, 11], gamma=0.1),
]
auto_scale_lr = dict(enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
