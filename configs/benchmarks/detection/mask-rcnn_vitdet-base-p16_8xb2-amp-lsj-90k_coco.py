"""Mask R-CNN on ViTDet-B/16, COCO, 90k iterations of 16 images: table 3 of AMT.

Published, box / mask AP: random weights 28.1 / 26.2, MAE 40.1 / 36.6, AM 42.2 / 38.3, AMT 42.8 / 36.6 (sic).

tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_vitdet-base-p16_8xb2-amp-lsj-90k_coco.py 8 \
    --data COCO --pretrained CKPT
"""

_base_ = ['../../_base_/detection/mask-rcnn_vitdet-base.py', 'mmdet::_base_/datasets/coco_instance.py']
custom_imports = dict(imports=['mimselfsup.transfer.detection'], allow_failed_imports=False)

train_pipeline, test_pipeline = _base_.lsj_pipeline, _base_.whole_pipeline
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler'),
    batch_sampler=None,  # all images are of one shape
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='mimselfsup.FasterCocoMetric')
test_evaluator = val_evaluator
# 88.9% and 96.3% of the run, as in ViTDet: AMT prints neither steps nor rate.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000, val_interval=15000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=90000, milestones=[80000, 86667], gamma=0.1),
]
