"""MMEngine's Runner, so that nothing is lost when a run is killed and no GPU is needed to run it."""

import copy
import datetime
import os
import time
from itertools import islice
from typing import Any

import mmengine
import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.dist import (
    broadcast_object_list,
    get_world_size,
    init_dist,
    is_distributed,
    master_only,
)
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner import Runner as _Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmengine.utils import apply_to, get_git_hash
from torch import nn
from torch.utils.data import DataLoader

from mimselfsup.registry import RUNNERS

from .checkpoint import (
    CheckpointError,
    find_resumable,
    fitting_arguments,
    load_pretrained,
    load_weights,
    plain_message_hub,
    read_anywhere,
    read_backbone,
    restore_message_hub,
    write_checkpoint,
)
from .hooks.checkpoint import CheckpointHook
from .hooks.running_statistics import RunningStatisticsHook
from .hooks.runtime_info import DeferredRuntimeInfoHook
from .hooks.training_progress import TrainingProgressHook


def init_distributed(launcher: str, **dist_cfg: Any) -> None:
    """Joins the process group that ``launcher`` started: NCCL where there are GPUs, gloo on CPUs.

    Raises ValueError if the launcher did not start this process, or if it cannot be used without a GPU.
    """
    if is_distributed():
        return
    if launcher == 'pytorch':
        lacking = [name for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE') if name not in os.environ]
        if lacking:
            raise ValueError(
                f'launcher=pytorch, but {", ".join(lacking)} is not set: start with torchrun or tools/dist_train.sh'
            )
    if torch.cuda.is_available():
        local, devices = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
        if launcher == 'pytorch' and local >= devices:
            raise ValueError(
                f'process {local} of this machine has no GPU of its own: there are {devices}; start at most '
                f'as many processes per machine as it has GPUs'
            )
        init_dist(launcher, **dist_cfg)
        return
    if launcher != 'pytorch':
        raise ValueError(
            f'launcher={launcher} needs GPUs, and this machine shows none. On CPUs use torchrun with '
            f'launcher=pytorch (tools/dist_train.sh, or tools/slurm_train.sh, which starts torchrun)'
        )
    timeout = dist_cfg.get('timeout')
    extra = {} if timeout is None else dict(timeout=datetime.timedelta(seconds=timeout))
    torch.distributed.init_process_group('gloo', **extra)


class EpochLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop that can start within an epoch, after what it has already consumed."""

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        for batch_index, data_batch in enumerate(self._remaining(done), start=done):
            self.run_iter(batch_index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _remaining(self, done: int):
        if done <= 0:
            return self.dataloader
        if done >= len(self.dataloader):  # saved after the last iteration of an epoch, before it was closed
            return ()
        sampler, batches = self.dataloader.sampler, self.dataloader.batch_sampler
        if hasattr(sampler, 'start_at') and self.dataloader.batch_size is not None:
            sampler.start_at(done * self.dataloader.batch_size)
            return self.dataloader
        if hasattr(batches, 'start_at'):
            batches.start_at(done)
            return self.dataloader
        self.runner.logger.info(
            f'{type(sampler).__name__} cannot start within an epoch: {done} batches are loaded and dropped'
        )
        return islice(self.dataloader, done, None)


class IterLoop(IterBasedTrainLoop):
    """MMEngine's loop of iterations that skips what it has consumed without loading it, whatever makes the batches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = _SkippingIterator(self.dataloader)


class _SkippingIterator(_InfiniteDataloaderIterator):
    def skip_iter(self, num_iters: int) -> None:
        batches = self._dataloader.batch_sampler
        if not hasattr(batches, 'skip_batches'):
            super().skip_iter(num_iters)
            return
        batches.skip_batches(num_iters)
        self._iterator = None


@RUNNERS.register_module()
class Runner(_Runner):
    """What differs from MMEngine's Runner:

    - checkpoints are written atomically, from plain data, and resuming takes the newest complete one of the
      work dir, wherever that has moved to, and reproduces the run that was never killed: its seed, sample
      order, position within an epoch, and (with :class:`TrainingProgressHook`, on by default) its masks;
    - weights that are loaded are reported, and an error if they do not fit;
    - several processes work on CPUs, through gloo;
    - logged values are read together when the logger writes, not one by one at every step, and a loss that is not
      finite ends the run (:class:`DeferredRuntimeInfoHook`, in place of MMEngine's);
    - samplers get the seed of the run, the same on all ranks, also with ``diff_rank_seed=True``, where
      MMEngine lets them draw one at random.

    ``cfg.pretrained``: a checkpoint for ``model.backbone``, of its teacher unless ``cfg.pretrained_from`` is 'student'.
    What only the checkpoint knows of the backbone, such as how many [CLS] tokens it has, becomes part of the config,
    here as for ``load_from`` and ``resume``; see :func:`~.checkpoint.fitting_arguments`. ``strict_load``: whether
    ``load_from`` must fill the model entirely, as for a test; otherwise new heads may stay as they are initialised.
    """

    strict_load = False

    # ------------------------------------------------------------------------------------ environment

    @property
    def base_seed(self) -> int:
        """The seed that all ranks share."""
        return self.seed - (self.rank if self._randomness_cfg.get('diff_rank_seed') else 0)

    def setup_env(self, env_cfg: dict) -> None:
        if self.distributed:
            init_distributed(self.launcher, **env_cfg.get('dist_cfg', {}))
        super().setup_env(env_cfg)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        built = super().build_model(model)
        if isinstance(model, dict):
            changes = self._changes_of_backbone(built)
            if changes:
                model = copy.deepcopy(model)
                for each in (model, self.cfg.model):
                    each['backbone'].update(changes)
                self.logger.info(f'model.backbone becomes that of the checkpoint: {changes}')
                built = super().build_model(model)
        if self.cfg.get('pretrained'):
            # Already here, so that what does not fit is known before any data loads.
            self.logger.info(str(self._fill_backbone(built)))
            built.backbone.is_init = True  # its parent's init_weights passes it by
        return built

    def _changes_of_backbone(self, model: nn.Module) -> dict[str, Any]:
        from mimselfsup.models.algorithms.base import BaseAlgorithm  # here the models are loaded anyway

        backbone = getattr(model, 'backbone', None)
        if not isinstance(self.cfg.get('model', {}).get('backbone'), dict) or not hasattr(backbone, 'layers'):
            return {}  # only those of transformers are looked at
        if isinstance(model, BaseAlgorithm):
            return {}  # a config of pre-training says all by itself
        path = self.cfg.get('pretrained') or self._load_from or (self._find_resumable() if self._resume else None)
        if not path:
            return {}
        # The whole model of a test or a resumed run has one backbone, under its own name.
        network = self.cfg.get('pretrained_from') if self.cfg.get('pretrained') else None
        return fitting_arguments(backbone, read_backbone(path, network).state)

    def _init_model_weights(self) -> None:
        super()._init_model_weights()
        if self.cfg.get('pretrained'):
            # Again: an init_cfg of the whole model reaches into the backbone.
            self._fill_backbone(self.model.module if is_model_wrapper(self.model) else self.model)

    def _fill_backbone(self, model: nn.Module) -> Any:
        return load_pretrained(model, self.cfg.pretrained, self.cfg.get('pretrained_from'))

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if self.distributed and not is_model_wrapper(model) and get_device() == 'cpu':
            if any(isinstance(part, nn.SyncBatchNorm) for part in model.modules()):
                self.logger.warning('SyncBatchNorm needs GPUs: on CPUs each process normalises by its own batch')
                model = revert_sync_batchnorm(model)
            model_wrapper_cfg = ConfigDict(
                dict(
                    type='MMDistributedDataParallel',
                    broadcast_buffers=False,
                    find_unused_parameters=self.cfg.get('find_unused_parameters', False),
                )
                | dict(model_wrapper_cfg or {})
                | dict(device_ids=None)
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        if any(_is_hook(each, TrainingProgressHook) for each in custom_hooks or ()):
            # With two of them a teacher would move twice per step.
            default_hooks = {**(default_hooks or {}), 'training_progress': None}
        super().register_hooks(default_hooks, custom_hooks)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        hooks = dict(hooks or {})
        hooks.setdefault('training_progress', dict(type=TrainingProgressHook))
        if hooks['training_progress'] is None:
            del hooks['training_progress']
        hooks.setdefault('running_statistics', dict(type=RunningStatisticsHook))
        info = hooks.setdefault('runtime_info', dict(type=DeferredRuntimeInfoHook))
        if isinstance(info, dict) and info.get('type') in ('RuntimeInfoHook', RuntimeInfoHook):
            hooks['runtime_info'] = {**info, 'type': DeferredRuntimeInfoHook}
        logging = hooks.setdefault('logger', dict(type=LoggerHook))
        if isinstance(logging, dict) and logging.get('type') in ('LoggerHook', LoggerHook):
            # Scores by iteration, as losses are: epochs are another axis, and 0 throughout in runs by iteration.
            hooks['logger'] = {'log_metric_by_epoch': False, **logging}
        if 'checkpoint' not in hooks:
            hooks['checkpoint'] = dict(type=CheckpointHook, interval=1)
        saving = hooks['checkpoint']
        # mmdet's and mmseg's configs name MMEngine's hook; its settings mean the same to ours.
        if isinstance(saving, dict) and saving.get('type') in ('CheckpointHook', _CheckpointHook):
            keep = {} if self.cfg.get('default_scope') == 'mimselfsup' else dict(max_keep_ckpts=-1)
            hooks['checkpoint'] = {**keep, **saving, 'type': CheckpointHook}
        super().register_default_hooks(hooks)

    def build_dataloader(
        self, dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        if isinstance(dataloader, dict) and isinstance(dataloader.get('sampler'), dict):
            dataloader = {**dataloader, 'sampler': {'seed': self.base_seed, **dataloader['sampler']}}
        return _Runner.build_dataloader(dataloader, seed=seed, diff_rank_seed=diff_rank_seed)

    def build_train_loop(self, loop: Any) -> Any:
        if isinstance(loop, dict):
            loop = dict(loop)
            if loop.get('type') in ('EpochBasedTrainLoop', EpochBasedTrainLoop) or loop.get('by_epoch'):
                loop.pop('by_epoch', None)
                loop['type'] = EpochLoop
            elif loop.get('type', 'IterBasedTrainLoop') in ('IterBasedTrainLoop', IterBasedTrainLoop):
                loop.pop('by_epoch', None)
                loop['type'] = IterLoop
        loop = super().build_train_loop(loop)
        if not loop.max_iters:
            raise ValueError(
                f'nothing to train on: {len(loop.dataloader.dataset)} samples make no batch of '
                f'train_dataloader.batch_size={loop.dataloader.batch_size} on each of {get_world_size()} '
                f'processes'
            )
        return loop

    # ------------------------------------------------------------------------------ saving and loading

    @master_only
    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        if file_client_args is not None:
            raise ValueError('file_client_args is no longer supported by MMEngine: use backend_args')
        meta = dict(meta or {})
        meta.setdefault('epoch', self.epoch + 1 if by_epoch else self.epoch)
        meta.setdefault('iter', self.iter if by_epoch else self.iter + 1)
        meta.update(
            cfg=self.cfg.pretty_text,
            seed=self.base_seed,
            experiment_name=self.experiment_name,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine_version=mmengine.__version__ + get_git_hash(),
            data_order=self._data_order(),
        )
        if hasattr(self.train_dataloader.dataset, 'metainfo'):
            meta['dataset_meta'] = self.train_dataloader.dataset.metainfo
        model = self.model.module if is_model_wrapper(self.model) else self.model
        checkpoint = dict(
            meta=meta,
            state_dict=_on_cpu(model.state_dict()),
            message_hub=plain_message_hub(self.message_hub.state_dict()),
        )
        if save_optimizer:
            checkpoint['optimizer'] = _on_cpu(self.optim_wrapper.state_dict())
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = _each_scheduler(
                self.param_schedulers, lambda scheduler: scheduler.state_dict()
            )
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        path = mmengine.fileio.join_path(out_dir, filename, backend_args=backend_args)
        write_checkpoint(checkpoint, path, backend_args)

    def _data_order(self) -> dict[str, int]:
        """What, besides the seed, decides which samples an iteration sees."""
        loader = self.train_dataloader
        return dict(
            samples=len(loader.dataset),
            batch_size=loader.batch_size or 0,
            processes=get_world_size(),
            accumulate=getattr(self.optim_wrapper, '_accumulative_counts', 1),
        )

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict:
        """Reads a checkpoint (a path or any address MMEngine knows) and fills the model from it.

        Raises CheckpointError if nothing fits; if ``strict``, also if anything is missing or of another shape.
        """
        if revise_keys:
            raise ValueError("revise_keys is not supported: rename the checkpoint's keys and save it again")
        checkpoint = read_anywhere(filename, map_location)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        try:
            report = load_weights(
                model, checkpoint, allow_missing=() if strict else ('',), allow_mismatched=not strict, owner='it'
            )
        except CheckpointError as error:
            raise CheckpointError(f'{filename}: {error}') from error
        if strict and report.left_out:
            raise CheckpointError(
                f'{filename} is of another model: {type(model).__name__} has no {", ".join(report.left_out[:6])}'
            )
        self._has_loaded = True
        self.logger.info(f'{filename}: {report}')
        return checkpoint

    def load_or_resume(self) -> None:
        if self._has_loaded:
            return
        if self._resume:
            path = self._load_from or self._find_resumable()
            if path:
                self.logger.info(f'resume from {path}')
                self.resume(path)
            else:
                self.logger.info(f'nothing to resume in {self.work_dir}: training starts at the beginning')
        elif self._load_from:
            self.load_checkpoint(self._load_from, strict=self.strict_load)

    def _find_resumable(self) -> str | None:
        found = [None]
        if self.rank == 0:  # one decides, so that all take the same
            found[0] = find_resumable(self.work_dir, self.logger.warning)
        if self.distributed:
            broadcast_object_list(found)
        return found[0]

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'cpu',
    ) -> None:
        """Continues where ``filename`` was saved. Raises CheckpointError if it is no training checkpoint."""
        checkpoint = self.load_checkpoint(filename, map_location=map_location, strict=True)
        meta = checkpoint.get('meta', {})
        wanted = ['message_hub', *(['optimizer'] if resume_optimizer else [])]
        lacking = [key for key in wanted if key not in checkpoint] + [k for k in ('epoch', 'iter') if k not in meta]
        if lacking:
            raise CheckpointError(
                f'{filename} cannot be resumed from, it holds no {", ".join(lacking)}. To start a new run from '
                f'its weights, pass --pretrained or set load_from'
            )
        self.train_loop._epoch = meta['epoch']
        self.train_loop._iter = meta['iter']
        self._resume_seed(meta.get('seed'))
        self._compare_data_order(meta.get('data_order'))
        self.message_hub.load_state_dict(restore_message_hub(checkpoint['message_hub']))
        if resume_optimizer:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        if resume_param_scheduler and self.param_schedulers is not None and 'param_schedulers' in checkpoint:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            saved = iter(_flat(checkpoint['param_schedulers']))
            _each_scheduler(self.param_schedulers, lambda scheduler: scheduler.load_state_dict(next(saved)))
        self.logger.info(f'resumed at epoch {self.epoch}, iteration {self.iter}')

    def _resume_seed(self, seed: int | None) -> None:
        if seed is None or seed == self.base_seed:
            return
        configured = self._randomness_cfg.get('seed')
        if configured is not None:
            self.logger.warning(f'the seed becomes {seed}, that of the resumed run, instead of {configured}')
        self._randomness_cfg['seed'] = seed
        self.set_randomness(**self._randomness_cfg)
        if hasattr(self.train_dataloader.sampler, 'seed'):
            self.train_dataloader.sampler.seed = seed

    def _compare_data_order(self, saved: dict | None) -> None:
        now = self._data_order()
        changed = [f'{key} {saved[key]} -> {now[key]}' for key in now if saved and saved.get(key) != now[key]]
        if changed:
            self.logger.warning(
                f'not the same run: {", ".join(changed)}. Training continues at the iteration that was saved, '
                f'but what an iteration sees, and how many make an epoch, has changed'
            )


def _is_hook(hook: Hook | dict, kind: type[Hook]) -> bool:
    if isinstance(hook, dict):
        hook = hook.get('type')
        return hook is kind or (isinstance(hook, str) and hook.split('.')[-1] == kind.__name__)
    return isinstance(hook, kind)


def _on_cpu(state: Any) -> Any:
    return apply_to(state, lambda item: hasattr(item, 'cpu'), lambda item: item.cpu())


def _flat(schedulers: list | dict) -> list:
    if isinstance(schedulers, dict):
        return [each for group in schedulers.values() for each in group]
    return schedulers


def _each_scheduler(schedulers: list | dict, call) -> list | dict:
    if isinstance(schedulers, dict):
        return {name: [call(each) for each in group] for name, group in schedulers.items()}
    return [call(each) for each in schedulers]
