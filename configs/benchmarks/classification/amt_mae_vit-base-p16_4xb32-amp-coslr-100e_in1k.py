"""AMT's fine-tuning after MAE, as in its README: the rate and the decay of MAE's ViT-L, the mean of the patches.

Published after 400 epochs: MAE 82.6, AM 82.5, AMT 82.8.

tools/dist_train.sh configs/benchmarks/classification/amt_mae_vit-base-p16_4xb32-amp-coslr-100e_in1k.py 4 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

train_dataloader = dict(batch_size=32)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=5, base_lr=1e-3, batch_size=1024, layer_decay=0.75, accumulate=8
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
