"""AttMask's ablation of the mask ratio: High with 10-70% masked, a fifth of ImageNet-1k. Published: 48.5 k-NN."""

_base_ = './attmask-high_ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(masking=dict(mask_ratio=(0.1, 0.7)))
