"""iBOT, Swin-T window 7, ImageNet-1k, 300 epochs, nothing masked in the first 50. Published: 75.3 k-NN, 78.6 linear."""

_base_ = './ibot_vit-small-p16_16xb64-amp-coslr-300e_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='MaskedSwin', arch='tiny', img_size=224, drop_path_rate=0.1),
    masking=dict(unit=8, min_block=4),  # blocks on the 7 x 7 tokens that come out, of 8 x 8 patches of 4 px
    masking_from_epoch=50,
    patch_loss=dict(start_epoch=50),
)
