"""How classifiers are run: scope, validation after every epoch, best and last accuracy, classes checked."""

_base_ = '../runtime.py'

default_scope = 'mmpretrain'
default_hooks = dict(checkpoint=dict(interval=1, save_best='accuracy/top1', rule='greater'))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mimselfsup.ClassCheckHook'),
    dict(type='mimselfsup.BestAndLastHook'),
]
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
