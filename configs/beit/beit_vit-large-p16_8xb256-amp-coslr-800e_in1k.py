"""BEiT, ViT-L/16, ImageNet-1k, 800 epochs. Published: 85.2 fine-tuned at 224 px, 86.3 at 384 px."""

_base_ = './beit_vit-base-p16_8xb256-amp-coslr-800e_in1k.py'

model = dict(backbone=dict(arch='large', layer_scale_init_value=1e-5))
