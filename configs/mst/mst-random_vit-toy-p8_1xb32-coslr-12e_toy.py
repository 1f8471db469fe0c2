"""MST at toy size, with every patch a candidate."""

_base_ = './mst_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(masking=dict(num=1))
