"""SimMIM with a ViT at a size that a CPU trains in minutes, on the toy world at 48 px.

python tools/make_scenes.py data/toy && python tools/train.py configs/simmim/simmim_vit-toy-p6_1xb64-coslr-100e_toy.py
"""

_base_ = '../mae/mae_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    backbone=dict(hidden='replace', position='learned', weight_init='trunc_normal_rescaled'),
    # Units of 12 px, a quarter of the side: 10 of 16 units.
    masking=dict(mask_ratio=0.6, unit=2, count='ceil'),
    decoder=dict(_delete_=True, type='LinearDecoder'),
    target=dict(normalize=False),
    loss=dict(criterion='l1'),
)
