"""SemanticMIM on MaskFeat, 8 proxies, ImageNet-1k, 300 epochs.

Published: [CLS] 52.0 linear, 83.7 fine-tuned; patches 59.7, 83.6.

tools/dist_train.sh configs/semanticmim/semanticmim_maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k.py 8 --data DIR
"""

_base_ = './maskfeat-random_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(
    backbone=dict(hidden='compress', num_cls_tokens=8),
    # 118 of 196 patches.
    masking=dict(mask_ratio=0.6),
    decoder=dict(_delete_=True, type='ProxyDecoder'),
)
