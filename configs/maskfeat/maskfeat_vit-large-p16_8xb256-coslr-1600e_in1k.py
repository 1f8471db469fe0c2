"""MaskFeat, ViT-L/16, ImageNet-1k, 1600 epochs, in full precision, as its authors say. Published: 85.7 fine-tuned."""

_base_ = './maskfeat_vit-base-p16_8xb256-amp-coslr-1600e_in1k.py'

model = dict(backbone=dict(arch='large'))
optim_wrapper = dict(type='OptimWrapper')
