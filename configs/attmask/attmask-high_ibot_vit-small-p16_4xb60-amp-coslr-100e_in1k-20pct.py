"""AttMask-High on iBOT, ViT-S/16, a fifth of ImageNet-1k, 100 epochs. Published: 49.7 k-NN, 57.9 linear."""

_base_ = './ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct.py'

model = dict(
    masking=dict(_delete_=True, type='AttMask', mode='high', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    saliency=dict(type='EncoderAttention'),
)
