"""BEiT at a size that a CPU trains in minutes, on the toy world at 48 px, with the codes of a tokenizer trained there.

python tools/make_scenes.py data/toy
python tools/train.py configs/beit/vq-tokenizer_conv-toy-p6_1xb64-coslr-30e_toy.py
python tools/train.py configs/beit/beit_vit-toy-p6_1xb64-coslr-100e_toy.py
"""

_base_ = ['../mae/mae_vit-toy-p6_1xb64-coslr-100e_toy.py', '../_base_/vq_tokenizer_toy.py']

model = dict(
    backbone=dict(
        hidden='replace',
        position='shared_relative',
        weight_init='trunc_normal_rescaled',
        layer_scale_init_value=0.1,
    ),
    # 25 of 64 patches.
    masking=dict(_delete_=True, type='BlockMasking', mask_ratio=0.4, min_block=5),
    decoder=dict(_delete_=True, type='LinearDecoder'),
    # The codes stand for the patches of the view: no second one is needed.
    target=dict(
        _delete_=True,
        type='TokenTarget',
        tokenizer=_base_.tokenizer,
        checkpoint='work_dirs/vq-tokenizer_conv-toy-p6_1xb64-coslr-30e_toy/epoch_30.pth',
    ),
    loss=dict(_delete_=True, type='MaskedClassificationLoss'),
)
