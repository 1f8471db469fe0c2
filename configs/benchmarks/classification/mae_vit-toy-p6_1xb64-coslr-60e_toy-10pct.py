"""MAE's fine-tuning at toy size on a tenth of the labels.

python tools/convert_dataset.py subset data/toy meta/train_10percent.txt --per-class 40
python tools/train.py configs/benchmarks/classification/mae_vit-toy-p6_1xb64-coslr-60e_toy-10pct.py --pretrained CKPT
"""

_base_ = './mae_vit-toy-p6_1xb64-coslr-10e_toy.py'
from mimselfsup.engine.schedules import adamw_layer_decay

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='data/toy',
        data_prefix='train',
        ann_file='meta/train_10percent.txt',
        pipeline=_base_.train_pipeline,
    )
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=60, warmup_epochs=5, base_lr=2e-3, batch_size=64, lr_unit=64, layer_decay=0.75
)
train_cfg.update(val_interval=10)
