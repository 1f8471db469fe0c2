"""MaskFeat with the features of DINO's ViT-B/16 instead of HOG, 300 epochs. Published: 84.0 fine-tuned.

It needs a checkpoint of that ViT in this project's names in data/teachers/dino_vit-base-p16.pth.
"""

_base_ = './maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(
    target=dict(
        _delete_=True,
        type='FeatureTarget',
        backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
        checkpoint='data/teachers/dino_vit-base-p16.pth',
        normalize='l2',
    )
)
