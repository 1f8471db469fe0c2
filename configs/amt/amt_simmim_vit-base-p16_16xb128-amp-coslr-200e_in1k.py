"""AMT on SimMIM, ViT-B/16, ImageNet-1k, 200 epochs, 44% masked and 26% thrown. Published: 80.7 fine-tuned.

tools/dist_train.sh configs/amt/amt_simmim_vit-base-p16_16xb128-amp-coslr-200e_in1k.py 16 --data DIR
"""

_base_ = './simmim_vit-base-p16_16xb128-amp-coslr-200e_in1k.py'

model = dict(
    saliency=dict(type='AttentionBank', image_size=224),
    # Units of 32 px: 22 masked, 13 thrown, 14 visible of 49.
    masking=dict(_delete_=True, type='AttentionDrivenMasking', mask_ratio=0.44, throw_ratio=0.26, unit=2, count='ceil'),
    masking_before=dict(type='RandomMasking', mask_ratio=0.6, unit=2, count='ceil'),
)
custom_hooks = [*_base_.custom_hooks, dict(type='mimselfsup.BankRefreshHook', interval=40)]
