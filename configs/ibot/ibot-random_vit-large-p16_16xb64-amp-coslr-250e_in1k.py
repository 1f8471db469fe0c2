"""iBOT, ViT-L/16, ImageNet-1k, 250 epochs, masks at random. Published: 77.7 k-NN, 81.3 linear, 85.0 fine-tuned."""

_base_ = './ibot_vit-large-p16_16xb64-amp-coslr-250e_in1k.py'

model = dict(masking=dict(_delete_=True, type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5))
