"""DINO with 10-50% of the student's global views masked at random, a fifth of ImageNet-1k. Published: 43.4 k-NN."""

_base_ = './ibot-random_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(projector=dict(num_prototypes=65536), patch_loss=None)
