"""MAE's fine-tuning, ViT-B. Published: 83.6 (1600 epochs), 83.3 (400 epochs, mmpretrain).

tools/dist_train.sh configs/benchmarks/classification/mae_vit-base-p16_8xb128-amp-coslr-100e_in1k.py 8 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
