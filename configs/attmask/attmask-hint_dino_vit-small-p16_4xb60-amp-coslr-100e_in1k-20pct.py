"""AttMask-Hint on DINO, ViT-S/16, a fifth of ImageNet-1k, 100 epochs. Published: 43.6 k-NN."""

_base_ = './attmask-high_dino_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(masking=dict(mode='hint', show_max=0.1))
