"""Cascade Mask R-CNN on ViT-B/16, COCO, 12 epochs of batches of 16: iBOT's setting."""

_base_ = './cascade-mask-rcnn_vit-small-p16_8xb4-amp-ms-crop-1x_coco.py'

model = dict(
    backbone=dict(arch='base'),
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim=768, norm_cfg=dict(type='SyncBN', requires_grad=True)),
        dict(type='FPN', in_channels=[768, 768, 768, 768], out_channels=256, num_outs=5),
    ],
)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
auto_scale_lr = dict(base_batch_size=16)
