"""Finds what is wrong with a config before anything is built, and says which key it is.

MMEngine ignores a key it does not know at the top, and meets a wrong argument as a bare TypeError when its
turn comes, which may be hours into a run.
"""

import contextlib
import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
from mmengine.runner import Runner as _Runner
from torch.utils.data import DataLoader

from mimselfsup import registry as ours

_RUNNER_KEYS = set(inspect.signature(_Runner.__init__).parameters) - {'self', 'cfg'}
_TOP_KEYS = _RUNNER_KEYS | {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'pretrained',
    'pretrained_from',
    'runner_type',
    'sync_bn',
}

# The registry of a typed dict, by the key under which it, or the list it is in, stands.
_REGISTRY_OF_KEY: dict[str, Registry] = {
    'model': ours.MODELS,
    'backbone': ours.MODELS,
    'neck': ours.MODELS,
    'head': ours.MODELS,
    'decoder': ours.MODELS,
    'target': ours.MODELS,
    'projector': ours.MODELS,
    'restoration': ours.MODELS,
    'saliency': ours.MODELS,
    'loss': ours.MODELS,
    'patch_loss': ours.MODELS,
    'data_preprocessor': ours.MODELS,
    'masking': ours.MASKINGS,
    'masking_before': ours.MASKINGS,
    'dataset': ours.DATASETS,
    'pipeline': ours.TRANSFORMS,
    'optim_wrapper': ours.OPTIM_WRAPPERS,
    'optimizer': root.OPTIMIZERS,
    'param_scheduler': root.PARAM_SCHEDULERS,
    'custom_hooks': ours.HOOKS,
    'val_evaluator': ours.METRICS,
    'test_evaluator': ours.METRICS,
    'visualizer': ours.VISUALIZERS,
    'vis_backends': root.VISBACKENDS,
}
_NEED_TYPE = {'model', 'dataset', 'pipeline', 'optimizer', 'custom_hooks', 'vis_backends'}
_NOT_LOOKED_INTO = {'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn'}
# Arguments that the Runner, or whoever builds a thing, adds or takes out before the constructor sees them.
_TAKEN_OUT = {
    'optim_wrapper': {'optimizer', 'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based'},
    'custom_hooks': {'priority'},
    'default_hooks': {'priority'},
}
_LOADER_KEYS = (set(inspect.signature(DataLoader.__init__).parameters) - {'self'}) | {
    'num_batch_per_epoch',
    'disable_subprocess_warning',
}


def check_config(cfg: Config) -> None:
    """Raises ValueError for the first key, type name or argument that MMEngine would ignore or stumble over."""
    _check_top(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mimselfsup'):
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            _check_loader(name, cfg.get(name))
        _check_loops(cfg)
        for key in _TOP_KEYS & cfg.keys():
            _check_typed(cfg[key], key, key)


def check_option_keys(cfg: Config, options: dict[str, Any]) -> None:
    """Raises ValueError for an option of the command line whose first part is neither in the config nor known."""
    for option in options:
        key = option.split('.')[0]
        if key not in cfg and key not in _TOP_KEYS:
            raise ValueError(f'--cfg-options {option}: the config has no {key!r}{_did_you_mean(key, cfg.keys())}')


def _check_top(cfg: Config) -> None:
    for key in cfg:
        # Any other name may be a helper variable of a text config; one letter off is no coincidence.
        near = difflib.get_close_matches(key, _TOP_KEYS, n=1, cutoff=0.85)
        if key not in _TOP_KEYS and near and not _is_plain(cfg[key]):
            raise ValueError(f'unknown config key {key!r}: did you mean {near[0]!r}? As it is, it has no effect')
    if not isinstance(cfg.get('model'), dict):
        raise ValueError("the config has no 'model', a dict with a type")
    for kind, keys in (
        ('train', ('train_dataloader', 'train_cfg', 'optim_wrapper')),
        ('val', ('val_dataloader', 'val_cfg', 'val_evaluator')),
        ('test', ('test_dataloader', 'test_cfg', 'test_evaluator')),
    ):
        absent = [key for key in keys if cfg.get(key) is None]
        if absent and len(absent) < len(keys):
            present = next(key for key in keys if key not in absent)
            raise ValueError(f'{kind} needs {", ".join(keys)}: {present} is there, but {", ".join(absent)} is not')


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | type(None))


def _check_loader(name: str, loader: Any) -> None:
    if not isinstance(loader, dict):
        return
    _refuse_unknown(name, loader, _LOADER_KEYS, 'a data loader')
    for key in ('dataset', 'sampler'):
        if key not in loader:
            raise ValueError(f'{name} has no {key!r}')
    size = loader.get('batch_size')
    if loader.get('batch_sampler') is None and (not isinstance(size, int) or size < 1):
        raise ValueError(f'{name}.batch_size={size!r}, must be a whole number of at least 1, per process')
    workers = loader.get('num_workers', 0)
    if not isinstance(workers, int) or workers < 0:
        raise ValueError(f'{name}.num_workers={workers!r}, must be a whole number, 0 or more')
    _check_one(loader['sampler'], f'{name}.sampler', ours.DATA_SAMPLERS, strict=True)
    _check_one(loader.get('batch_sampler'), f'{name}.batch_sampler', ours.DATA_SAMPLERS, strict=True)


def _check_loops(cfg: Config) -> None:
    loop = cfg.get('train_cfg')
    if isinstance(loop, dict) and 'type' not in loop:
        if 'by_epoch' not in loop:
            raise ValueError("train_cfg needs 'by_epoch' (True: max_epochs, False: max_iters) or a 'type'")
        kind = EpochBasedTrainLoop if loop['by_epoch'] else IterBasedTrainLoop
        _refuse_unknown('train_cfg', loop, {*_arguments(kind), 'by_epoch'} - {'runner', 'dataloader'}, kind.__name__)
        length = 'max_epochs' if loop['by_epoch'] else 'max_iters'
        if not isinstance(loop.get(length), int) or loop[length] < 1:
            raise ValueError(f'train_cfg.{length}={loop.get(length)!r}, must be a whole number of at least 1')
    for name, kind in (('val_cfg', ValLoop), ('test_cfg', TestLoop)):
        if isinstance(cfg.get(name), dict) and 'type' not in cfg[name]:
            allowed = set(_arguments(kind)) - {'runner', 'dataloader', 'evaluator'}
            _refuse_unknown(name, cfg[name], allowed, kind.__name__)


def _check_typed(node: Any, path: str, key: str, registry: Registry | None = None) -> None:
    """Checks ``node`` and what is below it. ``key``: the name that says what kind of thing is expected."""
    registry = _REGISTRY_OF_KEY.get(key, registry)
    if isinstance(node, list | tuple):
        for position, item in enumerate(node):
            _check_typed(item, f'{path}[{position}]', key, registry)
        return
    if not isinstance(node, dict):
        return
    with DefaultScope.overwrite_default_scope(node.get('_scope_')):
        if 'type' in node or key in _NEED_TYPE:
            # An empty registry is falsy.
            expected = ours.MODELS if registry is None else registry
            # Below a model, names such as act_cfg may belong to other registries: looked at, not insisted on.
            _check_one(node, path, expected, key in _REGISTRY_OF_KEY, _TAKEN_OUT.get(key, set()))
        if key == 'default_hooks':
            for name, hook in node.items():
                _check_one(hook, f'{path}.{name}', ours.HOOKS, strict=True, extra=_TAKEN_OUT[key])
            return
        for name, child in node.items():
            # norm_cfg and its like are for functions that take out more; samplers differ below loaders and heads.
            if not name.endswith('_cfg') and name not in _NOT_LOOKED_INTO:
                _check_typed(child, f'{path}.{name}', name)


def _check_one(
    node: Any, path: str, registry: Registry, strict: bool, extra: set[str] | frozenset[str] = frozenset()
) -> None:
    if not isinstance(node, dict):
        return
    kind = node.get('type')
    if kind is None:
        if strict and registry is not ours.OPTIM_WRAPPERS:
            raise ValueError(f"{path} has no 'type'")
        return
    built = kind
    if isinstance(kind, str):
        scoped = _in_scope(registry, node.get('_scope_'))
        built = _find(scoped, kind)
        if built is None and strict:
            raise ValueError(
                f'{path}.type={kind!r} is not a registered {registry.name.replace("_", " ")}'
                f'{_did_you_mean(kind, _names(scoped))}; types of other packages are written mmpretrain.X, '
                f'mmdet.X, mmseg.X'
            )
    if not callable(built):
        return
    allowed = _arguments(built)
    if allowed is not None:
        given = {key: value for key, value in node.items() if key not in {'type', '_scope_', *extra}}
        _refuse_unknown(path, given, set(allowed), getattr(built, '__name__', str(built)))


def registered(registry: Registry, kind: str | Callable, scope: str | None = None) -> Callable | None:
    """What MMEngine would build for this type from ``registry`` in ``scope`` (None: the default scope), or None."""
    return _find(_in_scope(registry, scope), kind) if isinstance(kind, str) else kind


def _in_scope(registry: Registry, scope: str | None) -> Registry:
    """The registry that MMEngine would build from, without its warning where a scope has none of the kind."""
    scope = scope or DefaultScope.get_current_instance().scope_name
    with contextlib.suppress(ImportError):
        importlib.import_module(f'{scope}.registry')
    top = registry._get_root_registry()
    found = top._search_child(scope)
    return registry if found is None else found


def _find(registry: Registry, kind: str) -> Callable | None:
    try:
        return registry.get(kind)
    except RuntimeError:  # MMEngine's answer to a dotted name whose module is not there
        return None


def _names(registry: Registry) -> list[str]:
    names: list[str] = []
    while registry is not None:
        names += registry.module_dict
        registry = registry.parent
    return names


def _refuse_unknown(path: str, given: dict, allowed: set[str], owner: str) -> None:
    for key, value in given.items():
        if key not in allowed and key not in ('type', '_scope_', '_delete_'):
            raise ValueError(
                f'{path}.{key}={_short(value)}: {owner} has no argument {key!r}{_did_you_mean(key, allowed)}; '
                f'it has {", ".join(sorted(allowed)) or "none"}'
            )


def _arguments(built: Callable) -> list[str] | None:
    """The argument names of a function or class, or None if it takes any."""
    if not inspect.isclass(built):
        return _named(built)[0] if not _named(built)[1] else None
    names: list[str] = []
    for owner in _constructors(built):
        own, takes_any = _named(owner.__init__)
        names += own
        if not takes_any:
            return names
    return None


def _constructors(built: type) -> Iterator[type]:
    return (owner for owner in built.__mro__ if '__init__' in vars(owner) and owner is not object)


def _named(function: Callable) -> tuple[list[str], bool]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return [], True
    names = [
        each.name
        for each in parameters
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name != 'self'
    ]
    return names, any(each.kind is each.VAR_KEYWORD for each in parameters)


def _did_you_mean(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' (did you mean {near[0]!r}?)' if near else ''


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
