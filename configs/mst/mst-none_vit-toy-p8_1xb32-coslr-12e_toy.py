"""MST at toy size, restoring without having hidden anything."""

_base_ = './mst_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(masking=dict(_delete_=True, type='RandomMasking', mask_ratio=0.0), saliency=None)
