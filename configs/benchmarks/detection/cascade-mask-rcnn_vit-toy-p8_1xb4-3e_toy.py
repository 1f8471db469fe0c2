"""Cascade Mask R-CNN on a ViT of the demo's size, on the toy world: minutes on two cores.

python tools/make_scenes.py data/toy
python tools/train.py configs/benchmarks/detection/cascade-mask-rcnn_vit-toy-p8_1xb4-3e_toy.py --pretrained CKPT
"""

_base_ = ['./cascade-mask-rcnn_vit-small-p16_8xb4-amp-ms-crop-1x_coco.py', '../../_base_/detection/toy.py']

custom_imports = dict(imports=['mimselfsup.transfer.detection'], allow_failed_imports=False)
# A pyramid of a quarter, half, ... of the patch; few boxes and channels, for they cost most.
strides = [2, 4, 8, 16, 32]
head = dict(
    type='ConvFCBBoxHead',
    num_shared_convs=4,
    num_shared_fcs=1,
    in_channels=32,
    conv_out_channels=32,
    fc_out_channels=64,
    roi_feat_size=7,
    num_classes=10,
    reg_class_agnostic=False,
    reg_decoded_bbox=True,
    norm_cfg=dict(type='SyncBN', requires_grad=True),
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
)
sampler = dict(type='RandomSampler', num=16, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True)
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
        img_size=96,
        patch_size=8,
        out_indices=(0, 1, 2, 3),
    ),
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim=64, norm_cfg=dict(type='SyncBN', requires_grad=True)),
        dict(type='FPN', in_channels=[64, 64, 64, 64], out_channels=32, num_outs=5),
    ],
    rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(strides=strides)),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32, featmap_strides=strides[:4], finest_scale=28),
        bbox_head=[
            dict(
                head,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=stds),
            )
            for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
        ],
        mask_roi_extractor=dict(out_channels=32, featmap_strides=strides[:4], finest_scale=28),
        mask_head=dict(in_channels=32, conv_out_channels=32, num_classes=10),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=100, max_per_img=32),
        rcnn=[
            dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=overlap,
                    neg_iou_thr=overlap,
                    min_pos_iou=overlap,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=sampler,
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for overlap in (0.5, 0.6, 0.7)
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=32), rcnn=dict(max_per_img=20)),
)
train_dataloader = dict(_base_.scenes_for_training, _delete_=True)
val_dataloader = test_dataloader = dict(_base_.scenes_for_validation, _delete_=True)
val_evaluator = test_evaluator = dict(_base_.scenes_metric, _delete_=True)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
max_epochs = 3
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[2], gamma=0.1),
]
