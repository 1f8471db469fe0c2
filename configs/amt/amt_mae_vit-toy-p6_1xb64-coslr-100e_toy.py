"""AMT on MAE at toy size: 45% masked, 40% thrown; the maps are refreshed every 10 of 100 epochs."""

_base_ = '../mae/mae_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    saliency=dict(type='AttentionBank', image_size=48),
    masking=dict(_delete_=True, type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4),
    masking_before=dict(type='RandomMasking', mask_ratio=0.75, count='ceil'),
)
custom_hooks = [*_base_.custom_hooks, dict(type='mimselfsup.BankRefreshHook', interval=10)]
