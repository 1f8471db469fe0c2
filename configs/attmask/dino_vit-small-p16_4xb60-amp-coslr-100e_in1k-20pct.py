"""DINO, ViT-S/16, a fifth of ImageNet-1k, 100 epochs, the others' host. Not published."""

_base_ = './dino-random_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(backbone=dict(hidden='drop'), masking=None)
