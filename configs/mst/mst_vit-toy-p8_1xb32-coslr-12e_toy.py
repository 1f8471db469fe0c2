"""MST at toy size. Of 36 patches the 9 that are attended to least are candidates."""

_base_ = '../dino/dino_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(
    backbone=dict(hidden='replace'),
    projector=dict(norm='SyncBN'),
    masking=dict(type='AttentionGuidedMasking', num=4, p=0.15),
    saliency=dict(type='EncoderAttention'),
    restoration=dict(type='ConvDecoder', channels=32),
)
