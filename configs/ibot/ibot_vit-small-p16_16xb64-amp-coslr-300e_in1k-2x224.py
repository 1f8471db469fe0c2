"""iBOT's ablations: ViT-S/16, no local views, 30% of every view masked. Published: 69.1 k-NN, 74.2 linear."""

_base_ = './ibot_vit-small-p16_16xb64-amp-coslr-300e_in1k.py'

model = dict(masking=dict(mask_ratio=0.3, mask_prob=1.0))
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_scale=(0.14, 1.0), num_local=0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
