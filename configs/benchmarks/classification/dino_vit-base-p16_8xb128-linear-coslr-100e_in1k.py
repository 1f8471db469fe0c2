"""DINO's linear probe of ViT-B: the last [CLS] and the mean of the last patch tokens, one after the other."""

_base_ = './dino_vit-small-p16_8xb128-linear-coslr-100e_in1k.py'

model = dict(backbone=dict(arch='base'), feature=dict(_delete_=True, cls=1, avg=1))
