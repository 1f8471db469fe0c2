"""Mask R-CNN on a ViTDet of the demo's size, on the toy world: minutes on two cores.

python tools/make_scenes.py data/toy
python tools/train.py configs/benchmarks/detection/mask-rcnn_vitdet-toy-p6_1xb4-lsj-1k_toy.py --pretrained CKPT
"""

_base_ = ['./mask-rcnn_vitdet-base-p16_8xb2-amp-lsj-90k_coco.py', '../../_base_/detection/toy.py']

custom_imports = dict(imports=['mimselfsup.transfer.detection'], allow_failed_imports=False)
# A pyramid of a quarter, half, ... of the patch; few boxes and channels, for they cost most.
strides = [1.5, 3, 6, 12, 24]
model = dict(
    data_preprocessor=dict(pad_size_divisor=96),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
        img_size=48,
        patch_size=6,
        input_size=96,
        window_size=8,
        global_blocks=(1, 3),
    ),
    neck=dict(in_channels=64, out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(strides=strides)),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32, featmap_strides=strides[:4], finest_scale=21),
        bbox_head=dict(in_channels=32, conv_out_channels=32, fc_out_channels=64, num_classes=10),
        mask_roi_extractor=dict(out_channels=32, featmap_strides=strides[:4], finest_scale=21),
        mask_head=dict(in_channels=32, conv_out_channels=32, num_classes=10),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=100, max_per_img=32),
        rcnn=dict(sampler=dict(num=16)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=32), rcnn=dict(max_per_img=20)),
)
train_dataloader = dict(_base_.scenes_for_training, _delete_=True, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = test_dataloader = dict(_base_.scenes_for_validation, _delete_=True)
val_evaluator = test_evaluator = dict(_base_.scenes_metric, _delete_=True)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_iters=1000, val_interval=500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=1000, milestones=[889, 963], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(interval=500))
