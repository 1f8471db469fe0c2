"""MST, Swin-T window 7, ImageNet-1k, 100 epochs. Published: 66.2 k-NN, 73.8 linear."""

_base_ = './mst_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='MaskedSwin', arch='tiny', img_size=224, drop_path_rate=0.1),
    # Candidates are the 6 tokens of 32 px, of 49, that receive the least attention: 8 x 8 patches of 4 px each.
    masking=dict(unit=8),
)
