"""Linear probe of MST's Swin-T, on the mean of its last map. Published: 73.8 (100 epochs).

What MST feeds the probe of Swin with is not described: the mean after the final norm is our reading.
"""

_base_ = './mst_vit-small-p16_8xb128-linear-coslr-100e_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='mimselfsup.MaskedSwin', arch='tiny', img_size=224),
    feature=dict(_delete_=True, avg=1),
)
