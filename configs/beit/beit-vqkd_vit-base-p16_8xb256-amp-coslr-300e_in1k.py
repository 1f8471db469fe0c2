"""BEiT with the codes of BEiT v2's tokenizer, ViT-B/16, ImageNet-1k, 300 epochs.

No published number: BEiT v2 has a second branch too, which reads the [CLS] token and is not here. It needs
data/tokenizers/vqkd_encoder.pth; README.md says where it comes from.
"""

_base_ = './beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(
    target=dict(
        tokenizer=dict(_delete_=True, type='VQKDTokenizer'),
        checkpoint='data/tokenizers/vqkd_encoder.pth',
    )
)
# The tokenizer reads what the encoder reads: one view.
train_pipeline = _base_.train_pipeline
train_pipeline[3:4] = [
    dict(
        type='mimselfsup.RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.RandomFlip', prob=0.5),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
