"""MST with an ordinary BN in the projector, over global and local views together. Not published."""

_base_ = './mst_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'

model = dict(projector=dict(local_bn='joint'))
