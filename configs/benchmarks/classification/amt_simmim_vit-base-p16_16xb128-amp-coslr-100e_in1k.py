"""AMT's fine-tuning after SimMIM: absolute positions, [CLS].

Published after 200 epochs: SimMIM and AM 81.5, AMT 80.7.
"""

_base_ = './simmim_vit-base-p16_16xb128-amp-coslr-100e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        layer_scale_init_value=0.1,
        out_type='cls_token',
    )
)
