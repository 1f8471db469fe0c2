"""Mask R-CNN on a ViTDet of the demo's size, on the toy world with the annotations of LVIS: minutes on two cores.

python tools/make_scenes.py data/toy --layouts coco lvis
python tools/train.py configs/benchmarks/detection/mask-rcnn_vitdet-toy-p6_1xb4-lsj-1k_toy-lvis.py --pretrained CKPT
"""

_base_ = './mask-rcnn_vitdet-toy-p6_1xb4-lsj-1k_toy.py'

custom_imports = dict(imports=['mimselfsup.transfer.lvis'], allow_failed_imports=False)
# What sets the full config for LVIS apart from that for COCO, with 5 of 10 classes drawn instead of 50 of 1203.
model = dict(
    roi_head=dict(
        bbox_head=dict(loss_cls=dict(_delete_=True, type='mimselfsup.FederatedLoss', num_classes=10, sampled=5))
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.02, max_per_img=60)),
)
custom_hooks = [dict(type='mimselfsup.ClassCountsHook')]
scenes = dict(_base_.train_dataloader.dataset, type='mimselfsup.LVISDataset', ann_file='annotations/lvis_v1_train.json')
train_dataloader = dict(dataset=dict(_delete_=True, type='ClassBalancedDataset', oversample_thr=1e-1, dataset=scenes))
val_dataloader = dict(dataset=dict(type='mimselfsup.LVISDataset', ann_file='annotations/lvis_v1_val.json'))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(
    _delete_=True,
    type='mimselfsup.LVISFasterMetric',
    ann_file='data/toy/annotations/lvis_v1_val.json',
    metric=['bbox', 'segm'],
)
