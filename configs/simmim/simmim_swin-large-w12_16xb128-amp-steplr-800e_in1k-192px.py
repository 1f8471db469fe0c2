"""SimMIM, Swin-L window 12, ImageNet-1k at 192 px, 800 epochs. Published: 85.4 fine-tuned at 224 px."""

_base_ = './simmim_swin-base-w6_16xb128-amp-steplr-800e_in1k-192px.py'

model = dict(backbone=dict(arch='large', stage_cfgs=dict(block_cfgs=dict(window_size=12))))
