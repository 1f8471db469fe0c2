"""AMT on SimMIM at toy size: 44% masked and 26% thrown, in units of 12 px."""

_base_ = '../simmim/simmim_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    saliency=dict(type='AttentionBank', image_size=48),
    masking=dict(_delete_=True, type='AttentionDrivenMasking', mask_ratio=0.44, throw_ratio=0.26, unit=2, count='ceil'),
    masking_before=dict(type='RandomMasking', mask_ratio=0.6, unit=2, count='ceil'),
)
custom_hooks = [*_base_.custom_hooks, dict(type='mimselfsup.BankRefreshHook', interval=10)]
