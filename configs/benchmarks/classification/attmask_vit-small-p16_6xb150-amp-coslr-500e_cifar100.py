"""AttMask's fine-tuning on CIFAR-100, ViT-S. Published: blocks 86.0, High 86.6.

tools/dist_train.sh configs/benchmarks/classification/attmask_vit-small-p16_6xb150-amp-coslr-500e_cifar100.py 6 \
    --data ROOT --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/cifar100_finetune_224.py',
    '../../_base_/classification/vit-small_deit.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=100))
train_dataloader = dict(batch_size=150, sampler=dict(type='RepeatAugSampler'))
custom_hooks = [*_base_.custom_hooks, *_base_.average]
