"""The accuracy that a run ended with, beside the best that it ever had."""

import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mimselfsup.registry import HOOKS

from .run_state import epoch_of


@HOOKS.register_module()
class BestAndLastHook(Hook):
    """Keeps every validation of a training run, and says of ``metric`` the last and the best (highest) value.

    Published scripts report the best, which is chosen on the images that it is measured on; the last is not. The log
    line of each validation gets ``best_<metric>``; ``<work_dir>/validation.json`` holds ``last``, ``best`` and
    ``epochs``, each with all metrics. A resumed run goes on with the file.
    """

    priority = 'NORMAL'  # before the logger writes

    def __init__(self, metric: str = 'accuracy/top1', report: str = 'validation.json') -> None:
        self.metric = metric
        self.report = report
        self._found: dict[int, dict] | None = None

    def before_train(self, runner: Runner) -> None:
        self._found = {}
        path = Path(runner.work_dir) / self.report
        if runner.iter and path.is_file():
            entries = json.loads(path.read_text())['epochs']
            self._found = {each['epoch']: each for each in entries if each['epoch'] <= epoch_of(runner)}

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self._found is None:  # a validation of its own
            return
        if self.metric not in (metrics or {}):
            raise ValueError(
                f'BestAndLastHook: metric={self.metric!r}, but the validation gives {", ".join(metrics or ["nothing"])}'
            )
        epoch = epoch_of(runner)
        self._found[epoch] = dict(epoch=epoch) | {name: float(value) for name, value in metrics.items()}
        runner.message_hub.update_scalar(f'val/best_{self.metric}', self._best()[self.metric])
        if is_main_process():
            content = dict(
                metric=self.metric, last=self._found[epoch], best=self._best(), epochs=list(self._found.values())
            )
            (Path(runner.work_dir) / self.report).write_text(json.dumps(content, indent=1) + '\n')

    def after_train(self, runner: Runner) -> None:
        if self._found:
            last, best = self._found[max(self._found)], self._best()
            runner.logger.info(
                f'{self.metric}: last {last[self.metric]:.2f} (epoch {last["epoch"]}), best {best[self.metric]:.2f} '
                f'(epoch {best["epoch"]})'
            )

    def _best(self) -> dict:
        return max(self._found.values(), key=lambda each: each[self.metric])  # of equal ones the first
