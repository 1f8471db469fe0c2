"""AttMask-High on iBOT, ViT-S/16, ImageNet-1k, 100 epochs. Published: 72.5 k-NN, 75.7 linear.

tools/dist_train.sh configs/attmask/attmask-high_ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k.py 4 --data DIR
"""

_base_ = './ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k.py'

model = dict(
    masking=dict(_delete_=True, type='AttMask', mode='high', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    saliency=dict(type='EncoderAttention'),  # the teacher's, in the pass that gives the targets
)
