"""MST's baseline with an ordinary BN in the projector. Published: 71.6 linear on the last [CLS]."""

_base_ = './dino_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'

model = dict(projector=dict(norm='SyncBN', local_bn='joint'))
