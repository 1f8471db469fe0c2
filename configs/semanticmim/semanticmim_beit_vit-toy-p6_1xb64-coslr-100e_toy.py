"""SemanticMIM on BEiT at toy size, 8 proxies.

Needs the tokenizer that beit/vq-tokenizer_conv-toy-p6_1xb64-coslr-30e_toy.py trains.
"""

_base_ = './beit-random_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    backbone=dict(hidden='compress', num_cls_tokens=8),
    # 39 of 64 patches.
    masking=dict(mask_ratio=0.6),
    decoder=dict(_delete_=True, type='ProxyDecoder'),
)
