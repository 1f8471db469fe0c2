"""Mask R-CNN on Swin-T, COCO, 12 epochs at a short side of 800: mmdet's 1x. Table 2 of MST, or the file with ms-crop.

Published, box / mask AP: supervised 42.7 / 39.3 (mmdet). MST's table: see the file with ms-crop.

tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_swin-tiny-w7_8xb2-1x_coco.py 8 --data COCO --pretrained CKPT
"""

_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
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
        drop_path_rate=0.2,
        pad_small_map=True,  # as mmdet's at every size
        with_mask_token=False,
    )
)
val_evaluator = dict(type='mimselfsup.FasterCocoMetric')
test_evaluator = val_evaluator
auto_scale_lr = dict(enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
