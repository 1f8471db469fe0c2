"""Saves checkpoints so that a kill at any instant leaves a complete one."""

import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook

from mimselfsup.engine.checkpoint import write_last_checkpoint
from mimselfsup.registry import HOOKS

from .running_statistics import join_running_statistics


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's hook, with three differences.

    A file is removed only after the one that replaces it is complete on disk. Whatever a resumed run
    remembers as its best checkpoint is looked for in its own folder, which may have moved. An ``interval`` in
    iterations is rounded up to whole optimizer steps, since half-accumulated gradients are not saved.

    The newest ``max_keep_ckpts`` = 2 are kept by default (-1: all).
    """

    def __init__(self, interval: int = -1, by_epoch: bool = True, max_keep_ckpts: int = 2, **kwargs) -> None:
        super().__init__(interval=interval, by_epoch=by_epoch, max_keep_ckpts=max_keep_ckpts, **kwargs)
        if self.args:  # MMEngine would hand them to the first save, hours later
            raise ValueError(
                f'CheckpointHook has no argument {", ".join(map(repr, self.args))}; it has those of '
                f'mmengine.hooks.CheckpointHook, among them interval, by_epoch, max_keep_ckpts, save_best'
            )

    def before_train(self, runner) -> None:
        if not self.by_epoch and self.interval > 0:
            accumulate = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
            whole = -(-self.interval // accumulate) * accumulate
            if whole != self.interval:
                runner.logger.info(
                    f'Checkpoints every {whole} iterations instead of {self.interval}: a multiple of the '
                    f'{accumulate} batches of one optimizer step'
                )
                self.interval = whole
        super().before_train(runner)
        if self.save_best is None:
            return
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = self._in_own_folder(self.best_ckpt_path)
            if self.best_ckpt_path:
                runner.message_hub.update_info('best_ckpt', self.best_ckpt_path)
        else:
            for key, path in self.best_ckpt_path_dict.items():
                self.best_ckpt_path_dict[key] = self._in_own_folder(path)
                if path:
                    runner.message_hub.update_info(f'best_ckpt_{key}', self.best_ckpt_path_dict[key])

    def _in_own_folder(self, path: str | None) -> str | None:
        return path and self.file_backend.join_path(self.out_dir, osp.basename(path))

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            while len(self.keep_ckpt_ids) >= self.max_keep_ckpts:
                outdated.append(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

        join_running_statistics(runner.model)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        if not is_main_process():
            return
        write_last_checkpoint(runner.work_dir, self.last_ckpt)
        for old in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._removals_at_the_end():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removals_at_the_end(self) -> Iterator[None]:
        """MMEngine removes the previous best before it writes the new one; this reverses the order."""
        backend = self.file_backend
        self.file_backend = deferred = _DeferredRemoval(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        many = getattr(self, 'best_ckpt_path_dict', {})
        current = {getattr(self, 'best_ckpt_path', None), *many.values()}
        for path in deferred.removed:
            if path not in current and backend.isfile(path):  # the new one may have the name of the old
                backend.remove(path)


class _DeferredRemoval:
    """A file backend that notes what it is asked to remove; everything else is passed on."""

    def __init__(self, backend) -> None:
        self._backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.removed.append(path)
