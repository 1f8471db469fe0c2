"""MST's baseline, DINO with 10 local views: nothing masked, nothing restored, no norms. Published: 72.4 linear."""

_base_ = './mst_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'

model = dict(
    backbone=dict(hidden='drop'),
    projector=dict(norm=None),
    masking=None,
    saliency=None,
    restoration=None,
)
