"""SemanticMIM on BEiT, 8 proxies, ImageNet-1k, 300 epochs.

Published: [CLS] 49.2 linear, 83.0 fine-tuned; patches 48.2, 82.9.

tools/dist_train.sh configs/semanticmim/semanticmim_beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py 8 --data DIR
"""

_base_ = './beit-random_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(
    backbone=dict(hidden='compress', num_cls_tokens=8),
    # 118 of 196 patches.
    masking=dict(mask_ratio=0.6),
    decoder=dict(_delete_=True, type='ProxyDecoder'),
)
