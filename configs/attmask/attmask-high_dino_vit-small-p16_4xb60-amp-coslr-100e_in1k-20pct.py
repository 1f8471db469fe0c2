"""AttMask-High on DINO, ViT-S/16, a fifth of ImageNet-1k, 100 epochs. Published: 43.5 k-NN."""

_base_ = './attmask-high_ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(projector=dict(num_prototypes=65536), patch_loss=None)
