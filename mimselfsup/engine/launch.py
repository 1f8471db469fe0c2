"""From a config file and a command line to a config that can be run.

Everything tools/train.py does to a config happens in :func:`prepare_config`, step by step, and before a
model is built or an image is read. What a user can get wrong is a ValueError that names the key, its value
and what is allowed.
"""

import os
import sys
import traceback
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log

from mimselfsup.datasets.sample_errors import SampleError

from .checkpoint import trust_checkpoint
from .class_counts import set_class_counts
from .config_nodes import LOADERS, bare, dicts
from .data_roots import check_data, set_data_root
from .optim import device_has_bfloat16
from .runner import init_distributed
from .validation import check_config, check_option_keys

# What a config of mmdet or mmseg can name with the prefix mimselfsup; importing them imports mmdet and mmseg.
_TRANSFER = dict(
    mmdet=('mimselfsup.transfer.detection', 'mimselfsup.transfer.lvis'), mmseg=('mimselfsup.transfer.segmentation',)
)
_PLAIN_WRAPPERS = ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper', 'mimselfsup.AutocastOptimWrapper')


def load_config(path: str | os.PathLike, options: dict[str, Any] | None = None) -> Config:
    """Reads a config and merges ``options`` ('a.b.c': value). Raises ValueError or FileNotFoundError.

    A config of mmdet or mmseg finds data sets and metrics of ``mimselfsup.transfer`` without ``custom_imports``.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'config {path} does not exist')
    try:
        cfg = Config.fromfile(path)
        if cfg.get('default_scope') in _TRANSFER:
            for module in _TRANSFER[cfg.default_scope]:
                import_module(module)
            _unstamp(cfg)
    except Exception as error:
        # A config is a program: whatever it raises is about what it says.
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error
    if options:
        check_option_keys(cfg, options)
        try:
            cfg.merge_from_dict(options)
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f'--cfg-options {_as_options(options)} does not fit the config: {error}') from error
    return cfg


def _unstamp(cfg: Config) -> None:
    """Lets types without a prefix be those of the default scope again.

    ``_base_ = 'mimselfsup::...'`` makes MMEngine stamp them as ours, where a config here leaves them to mmdet or mmseg.
    """
    for node in dicts(cfg._cfg_dict):
        if node.get('_scope_') == 'mimselfsup':
            node.pop('_scope_')


def prepare_config(cfg: Config, args: Namespace, training: bool = True) -> Config:
    """Applies the command line to ``cfg``, checks all of it, and joins the process group if there is one.

    Recognised in ``args``, each may be absent: config, work_dir, launcher, data, pretrained, pretrained_from
    ('teacher' or 'student'), resume ('auto' or a path), amp, accumulate, trust_checkpoint. Returns ``cfg``, changed.
    """
    option = vars(args).get
    set_work_dir(cfg, option('work_dir'), option('config'))
    cfg.launcher = option('launcher') or cfg.get('launcher', 'none')
    set_seed(cfg)
    mend_known_traps(cfg)
    if option('data'):
        set_data_root(cfg, option('data'))
    set_class_counts(cfg)
    if option('pretrained'):
        set_pretrained(cfg, option('pretrained'), option('trust_checkpoint', False), option('pretrained_from'))
    elif option('pretrained_from'):
        raise ValueError(
            f'--pretrained-from {option("pretrained_from")} says which network of --pretrained CKPT is meant'
        )
    if training:
        check_trains(cfg)
        make_reproducible(cfg)
        set_resume(cfg, option('resume'), option('trust_checkpoint', False))
    set_precision(cfg, option('amp', False))
    check_config(cfg)
    check_data(cfg)
    if cfg.launcher != 'none':
        init_distributed(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
    set_accumulation(cfg, option('accumulate'))
    scale_learning_rate(cfg)
    return cfg


def is_user_error(error: Exception, before_training: bool) -> bool:
    """Whether the message of ``error`` is all a user needs: it was written for them, not for a developer.

    Those of this package always are; before training, so are those that MMEngine raises about a config.
    """
    if isinstance(error, SampleError):
        return True
    if not isinstance(error, ValueError | FileNotFoundError | NotADirectoryError | KeyError):
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    raised_in = frames[-1][0].f_globals.get('__name__', '') if frames else ''
    ours = raised_in.split('.')[0] in ('mimselfsup', '__main__')  # or the tool itself
    return ours or (before_training and raised_in.split('.')[0] in ('mmengine', 'mmpretrain', 'mmdet', 'mmseg'))


def report_user_error(error: Exception, before_training: bool) -> int:
    """Prints a mistake of the user as one line and returns the exit code; raises what is none, or in debugging."""
    if os.environ.get('MIMSELFSUP_DEBUG') == '1' or not is_user_error(error, before_training):
        raise error
    if os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') == '0':  # once is enough
        # str() of a KeyError is the repr of its message.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f'error: {message}', file=sys.stderr)
    return 2


# ----------------------------------------------------------------------------------------------- steps


def set_work_dir(cfg: Config, given: str | None, config_path: str | None) -> None:
    if given:
        cfg.work_dir = given
    elif not cfg.get('work_dir'):
        cfg.work_dir = os.path.join('./work_dirs', Path(config_path or cfg.filename or 'run').stem)


def check_trains(cfg: Config) -> None:
    if cfg.get('train_dataloader') is None or cfg.get('train_cfg') is None:
        raise ValueError(f'{cfg.filename} describes no training: it has no train_dataloader or no train_cfg')


def set_seed(cfg: Config) -> None:
    """Seed 0 unless the config says otherwise; each rank draws its own masks."""
    cfg.randomness = dict(seed=0, diff_rank_seed=True) | dict(cfg.get('randomness') or {})


def mend_known_traps(cfg: Config) -> None:
    """Differences between a config that reads well and one that MMEngine runs."""
    for name in LOADERS:
        for loader in _as_list(cfg.get(name)):
            if not loader.get('num_workers'):
                loader['num_workers'] = 0
                loader['persistent_workers'] = False  # PyTorch refuses both without workers
                loader.pop('prefetch_factor', None)
            if isinstance(loader.get('collate_fn'), dict):
                # `_base_ = 'mmpretrain::...'` stamps this on every typed dict; a function takes no such argument.
                loader['collate_fn'].pop('_scope_', None)
    if cfg.get('default_scope') in ('mmdet', 'mmseg') and '://' in str(cfg.get('pretrained')):
        # A helper variable of their configs, an address for their own backbone; to this Runner it is --pretrained.
        cfg.pretrained = None
    if _counts_iterations(cfg):
        processor = cfg.setdefault('log_processor', dict(type='LogProcessor'))
        processor['by_epoch'] = False  # else the log says Epoch(train) [1][...]
        saving = (cfg.get('default_hooks') or {}).get('checkpoint')
        if isinstance(saving, dict) and saving.get('by_epoch', True):
            _log(
                'default_hooks.checkpoint saves by epoch and train_cfg counts iterations: only the end is saved; set '
                'by_epoch=False and an interval in iterations'
            )


def make_reproducible(cfg: Config) -> None:
    """Makes what a training iteration sees a function of seed and iteration, for mmdet's and mmseg's data too.

    Their samplers keep their order and learn to say in which epoch an index is drawn, by which every sample seeds its
    augmentations; batches before a resumed iteration are counted, not loaded. Configs with samplers of this project
    (SeedSample in the pipeline) are as they should be.
    """
    loader = cfg.get('train_dataloader')
    if not isinstance(loader, dict) or not isinstance(loader.get('sampler'), dict):
        return
    ours = dict(DefaultSampler='EpochSampler', InfiniteSampler='EndlessSampler')
    kind = bare(loader.sampler.get('type'))
    if kind not in ours or not isinstance(loader.get('dataset'), dict):
        return
    loader.sampler.type = f'mimselfsup.{ours[kind]}'
    if bare(loader.dataset.get('type')) != 'ImageFolder':
        loader.dataset = dict(type='mimselfsup.SeededDataset', dataset=loader.dataset)
    if isinstance(loader.get('batch_sampler'), dict):
        loader.batch_sampler = dict(type='mimselfsup.ResumableBatchSampler', batch_sampler=loader.batch_sampler)


def _counts_iterations(cfg: Config) -> bool:
    loop = cfg.get('train_cfg')
    return isinstance(loop, dict) and (
        bare(loop.get('type')) == 'IterBasedTrainLoop' or loop.get('by_epoch', True) is False
    )


def set_pretrained(cfg: Config, path: str, trusted: bool = False, network: str | None = None) -> None:
    """The Runner fills ``model.backbone`` from ``path``, and refuses what does not fit.

    ``network``: 'teacher' or 'student' of self-distillation; None is the teacher, where there is one.
    """
    if '://' not in path and not os.path.isfile(path):
        raise FileNotFoundError(f'--pretrained {path}: no such file')
    if not isinstance(cfg.get('model'), dict) or 'backbone' not in cfg.model:
        raise ValueError('--pretrained fills model.backbone, which this config does not have')
    if trusted:
        trust_checkpoint(path)
    cfg.pretrained, cfg.pretrained_from = path, network
    cfg.model.pop('pretrained', None)


def set_resume(cfg: Config, resume: str | None, trusted: bool = False) -> None:
    """``resume``: None, 'auto' for the newest complete checkpoint of the work dir, or a path.

    A worker that torchrun starts again resumes by itself, from what this run has saved.
    """
    pointer = Path(cfg.work_dir) / 'last_checkpoint'
    restarted = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0
    if (restarted and pointer.exists()) or resume == 'auto':
        cfg.resume, cfg.load_from = True, None
    elif resume:
        if '://' not in resume and not os.path.isfile(resume):
            raise FileNotFoundError(f'--resume {resume}: no such file')
        if trusted:
            trust_checkpoint(resume)
        cfg.resume, cfg.load_from = True, resume
    elif not cfg.get('resume') and not restarted and int(os.environ.get('RANK', 0)) == 0 and pointer.exists():
        pointer.unlink()  # of an earlier run: a restart of this one must not continue from it
        _log(
            f'{cfg.work_dir} holds checkpoints of an earlier run, which this one, starting at the beginning, will '
            f'overwrite; --resume continues it'
        )


def set_precision(cfg: Config, amp: bool) -> None:
    """``amp``: bfloat16 where the device has it, else float16 with dynamic loss scaling.

    A config that asks for MMEngine's AmpOptimWrapper, which refuses CPUs, gets bfloat16 there.
    """
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        return
    kind = wrapper.get('type', 'OptimWrapper')
    refused = bare(kind) == 'AmpOptimWrapper' and not torch.cuda.is_available()
    if not amp and not refused:
        return
    if kind not in _PLAIN_WRAPPERS:
        raise ValueError(
            f'--amp does not know how to make optim_wrapper.type={kind} use mixed precision; it replaces '
            f'{" or ".join(_PLAIN_WRAPPERS[:3])}'
        )
    for key in ('loss_scale', 'dtype', 'use_fsdp'):
        wrapper.pop(key, None)
    if device_has_bfloat16():
        wrapper.type = 'mimselfsup.AutocastOptimWrapper'
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.loss_scale = 'dynamic'
        wrapper.dtype = 'float16'
    _log(f'mixed precision: {"bfloat16" if device_has_bfloat16() else "float16 with dynamic loss scaling"}')


def set_accumulation(cfg: Config, accumulate: int | None) -> None:
    """Sums the gradients of ``accumulate`` batches per optimizer step, in whole steps per epoch.

    Where the batches of an epoch do not divide, its tail is left out: a gradient that is half summed when a
    checkpoint is written would be lost.
    """
    wrapper, loader = cfg.get('optim_wrapper'), cfg.get('train_dataloader')
    if wrapper is None or loader is None:
        return
    if accumulate is not None:
        if accumulate < 1:
            raise ValueError(f'--accumulate {accumulate}, must be at least 1: the batches of one optimizer step')
        wrapper.accumulative_counts = accumulate
    count = wrapper.get('accumulative_counts', 1)
    batches = cfg.train_cfg.get('max_iters') if _counts_iterations(cfg) else None
    if count > 1 and batches:
        _log(
            f'train_cfg.max_iters={batches} counts batches, {batches // count} optimizer steps of {count}; for '
            f'as many steps as without, it, val_interval and what param_scheduler counts must be {count} times as large'
        )
    sampler = loader.get('sampler')
    if count == 1 or not isinstance(sampler, dict) or loader.get('batch_sampler'):
        return
    if bare(sampler.get('type')) == 'DefaultSampler':
        sampler.type = 'mimselfsup.EpochSampler'
        _log('train_dataloader.sampler becomes EpochSampler, whose epochs are whole optimizer steps')
    if bare(sampler.get('type')) == 'EpochSampler':
        sampler.batches_of = loader.batch_size * count
        _log(
            f'each optimizer step sums {count} batches; what is left of an epoch after steps of '
            f'{sampler.batches_of} samples per process is left out'
        )
    else:
        _log(f'{sampler.get("type")}: resuming is exact only where a checkpoint falls on an optimizer step')


def scale_learning_rate(cfg: Config) -> None:
    """Scales the learning rate, and the schedulers' lowest, in proportion to the images per optimizer step.

    In effect where the config names the batch its rate is meant for (``auto_scale_lr.base_batch_size``),
    unless ``auto_scale_lr.enable=False``.
    """
    rule = cfg.get('auto_scale_lr')
    wrapper, loader = cfg.get('optim_wrapper'), cfg.get('train_dataloader')
    if not rule or rule.get('enable') is False or wrapper is None or loader is None:
        return
    base = rule.get('base_batch_size')
    if not isinstance(base, int) or base < 1:
        raise ValueError(
            f'auto_scale_lr.base_batch_size={base!r}, must be the number of images per optimizer step that '
            f'optim_wrapper.optimizer.lr is meant for'
        )
    if not isinstance(wrapper.get('optimizer'), dict) or 'lr' not in wrapper.optimizer:
        raise ValueError('auto_scale_lr needs optim_wrapper.optimizer.lr; set auto_scale_lr=None or enable=False')
    accumulate = wrapper.get('accumulative_counts', 1)
    total = loader.batch_size * get_world_size() * accumulate
    ratio = total / base
    before = wrapper.optimizer.lr
    wrapper.optimizer.lr = before * ratio
    for scheduler in dicts(cfg.get('param_scheduler')):
        # A schedule of the weight decay or of the momentum has an eta_min of another unit.
        if 'eta_min' in scheduler and (
            bare(scheduler.get('type')).endswith('LR') or scheduler.get('param_name') == 'lr'
        ):
            scheduler['eta_min'] = scheduler['eta_min'] * ratio
    rule['enable'] = False  # MMEngine's own would do it again, without the accumulation and the schedulers
    _log(
        f'learning rate {before:g} -> {wrapper.optimizer.lr:g}: {total} images per optimizer step '
        f'({loader.batch_size} x {get_world_size()} processes x {accumulate} batches) instead of {base}'
    )


# --------------------------------------------------------------------------------------------- helpers


def _as_list(node: Any) -> list[dict]:
    return [item for item in (node if isinstance(node, list | tuple) else [node]) if isinstance(item, dict)]


def _as_options(options: dict) -> str:
    return ' '.join(f'{key}={value}' for key, value in options.items())


def _log(message: str) -> None:
    if int(os.environ.get('RANK', 0)) == 0:
        print_log(message)
