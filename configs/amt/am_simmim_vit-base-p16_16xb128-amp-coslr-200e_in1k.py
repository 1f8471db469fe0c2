"""AM on SimMIM, ViT-B/16, 200 epochs. Published: 81.5 fine-tuned."""

_base_ = './amt_simmim_vit-base-p16_16xb128-amp-coslr-200e_in1k.py'

model = dict(masking=dict(mask_ratio=0.6, throw_ratio=0.0))
