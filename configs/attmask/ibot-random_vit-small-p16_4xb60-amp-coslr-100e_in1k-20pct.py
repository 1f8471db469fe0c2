"""iBOT, ViT-S/16, a fifth of ImageNet-1k, 10-50% masked at random. Published: 47.8 k-NN, 56.7 linear."""

_base_ = './ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(masking=dict(_delete_=True, type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5))
