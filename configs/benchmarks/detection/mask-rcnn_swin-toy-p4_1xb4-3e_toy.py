"""Mask R-CNN on a two-stage Swin, on the toy world: minutes on two cores.

python tools/make_scenes.py data/toy
python tools/train.py configs/benchmarks/detection/mask-rcnn_swin-toy-p4_1xb4-3e_toy.py --pretrained CKPT
"""

_base_ = ['./mask-rcnn_swin-tiny-w7_8xb2-1x_coco.py', '../../_base_/detection/toy.py']

custom_imports = dict(imports=['mimselfsup.transfer.detection'], allow_failed_imports=False)
# Few boxes and channels, for they cost most.
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=48, depths=[2, 2], num_heads=[2, 4]),
        img_size=48,
        window_size=4,
        out_indices=(0, 1),
    ),
    neck=dict(in_channels=[48, 96], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32, finest_scale=28),
        bbox_head=dict(in_channels=32, fc_out_channels=64, num_classes=10),
        mask_roi_extractor=dict(out_channels=32, finest_scale=28),
        mask_head=dict(in_channels=32, conv_out_channels=32, num_classes=10),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=100, max_per_img=32),
        rcnn=dict(sampler=dict(num=16)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=32), rcnn=dict(max_per_img=20)),
)
train_dataloader = dict(_base_.scenes_for_training, _delete_=True)
val_dataloader = test_dataloader = dict(_base_.scenes_for_validation, _delete_=True)
val_evaluator = test_evaluator = dict(_base_.scenes_metric, _delete_=True)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
max_epochs = 3
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[2], gamma=0.1),
]
