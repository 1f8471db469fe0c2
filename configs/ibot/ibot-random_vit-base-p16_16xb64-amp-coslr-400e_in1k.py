"""iBOT, ViT-B/16, ImageNet-1k, 400 epochs, masks at random. Published: 77.3 k-NN, 79.8 linear, 84.1 fine-tuned."""

_base_ = './ibot_vit-base-p16_16xb64-amp-coslr-400e_in1k.py'

model = dict(masking=dict(_delete_=True, type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5))
