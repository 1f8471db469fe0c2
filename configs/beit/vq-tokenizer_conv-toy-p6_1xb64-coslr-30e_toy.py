"""A tokenizer of one's own at toy size, for beit_vit-toy-p6_1xb64-coslr-100e_toy.py, which reads its last checkpoint.

python tools/make_scenes.py data/toy
python tools/train.py configs/beit/vq-tokenizer_conv-toy-p6_1xb64-coslr-30e_toy.py
"""

_base_ = ['../_base_/datasets/toy_48.py', '../_base_/vq_tokenizer_toy.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    type='VectorQuantizedAutoencoder',
    # A tokenizer reads pixels in 0..255.
    data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', to_rgb=True),
    tokenizer=_base_.tokenizer,
    commitment=0.25,
)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=30, warmup_epochs=1, base_lr=2e-3, batch_size=64, lr_unit=64, betas=(0.9, 0.95), weight_decay=0.0
)
auto_scale_lr = dict(base_batch_size=64)
