"""MAE's fine-tuning of ViT-B: mean of the patches and a new norm, layer decay, 100 epochs."""

_base_ = []
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mimselfsup.MaskedViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='avg_featmap',
        final_norm=False,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=5, base_lr=5e-4, batch_size=1024, layer_decay=0.65
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=1024)
