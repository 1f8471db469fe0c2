"""AM on MAE, ViT-B/16, 400 epochs. Published: 82.5 fine-tuned, 61.5 linear."""

_base_ = './amt_mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(masking=dict(mask_ratio=0.75, throw_ratio=0.0))
