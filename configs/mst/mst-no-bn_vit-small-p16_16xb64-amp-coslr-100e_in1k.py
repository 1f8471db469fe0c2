"""MST's ablation: a projector without norms, as DINO's. Published: 73.1 linear on the last [CLS]."""

_base_ = './mst_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'

model = dict(projector=dict(norm=None))
