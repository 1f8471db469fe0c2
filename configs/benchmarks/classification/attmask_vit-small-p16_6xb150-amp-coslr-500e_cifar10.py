"""AttMask's fine-tuning on CIFAR-10, ViT-S. Published: blocks 98.0, High 98.2.

tools/dist_train.sh configs/benchmarks/classification/attmask_vit-small-p16_6xb150-amp-coslr-500e_cifar10.py 6 \
    --data ROOT --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/cifar10_finetune_224.py',
    '../../_base_/classification/vit-small_deit.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=10))
train_dataloader = dict(batch_size=150, sampler=dict(type='RepeatAugSampler'))
custom_hooks = [*_base_.custom_hooks, *_base_.average]
