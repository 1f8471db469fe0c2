"""AM on MAE at toy size: 75% masked by attention, nothing thrown."""

_base_ = './amt_mae_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(masking=dict(mask_ratio=0.75, throw_ratio=0.0))
