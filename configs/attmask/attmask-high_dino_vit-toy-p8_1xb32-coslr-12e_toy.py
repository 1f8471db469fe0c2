"""DINO whose student does not see what the teacher attends to most, at toy size."""

_base_ = '../dino/dino_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(
    backbone=dict(hidden='replace'),
    masking=dict(type='AttMask', mode='high', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    saliency=dict(type='EncoderAttention'),
)
