"""AttMask-Hint on iBOT, ViT-S/16, a fifth of ImageNet-1k, 100 epochs. Published: 49.5 k-NN, 57.5 linear."""

_base_ = './attmask-high_ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(masking=dict(mode='hint', show_max=0.1))
