"""MAE's linear probe, ViT-B. Published: 68.0; 62.5 after 400 epochs of pre-training (mmpretrain).

A batch of 512 per process is part of it: the feature is standardised by it. Fewer GPUs sum batches:
tools/dist_train.sh configs/benchmarks/classification/mae_vit-base-p16_32xb512-amp-linear-coslr-90e_in1k.py 8 \
    --accumulate 4 --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_probe_bicubic_224.py',
    '../../_base_/classification/vit-base_linear.py',
    '../../_base_/classification/runtime.py',
]

train_dataloader = dict(batch_size=512)
