"""Whether data and classifier speak of the same classes."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mimselfsup.registry import HOOKS

from .run_state import model_of


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Stops a run whose data have other classes than its head, or other ones to validate on than to train on.

    Folders number their classes by sorted names: one that is missing in ``val/`` would shift all that follow. Data sets
    that name no classes (lists of files and labels) are not looked into. Raises ValueError before the first step.
    """

    def before_train(self, runner: Runner) -> None:
        train = self._check(runner, 'train_dataloader', runner.train_dataloader)
        if runner.val_loop is None:
            return
        validated = self._check(runner, 'val_dataloader', runner.val_dataloader)
        if train and validated and train != validated:
            odd = sorted(set(train) ^ set(validated))
            raise ValueError(
                f'train_dataloader has {len(train)} classes and val_dataloader {len(validated)}, not the same: '
                f'{", ".join(odd[:5]) or "their order"} {"is" if len(odd) == 1 else "are"} in one of them alone'
            )

    def before_val(self, runner: Runner) -> None:
        self._check(runner, 'val_dataloader', runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        self._check(runner, 'test_dataloader', runner.test_dataloader)

    def _check(self, runner: Runner, name: str, loader: DataLoader) -> tuple[str, ...]:
        classes = tuple(getattr(loader.dataset, 'metainfo', {}).get('classes') or ())
        expected = getattr(getattr(model_of(runner), 'head', None), 'num_classes', None)
        if classes and expected is not None and len(classes) != expected:
            raise ValueError(
                f'{name} has {len(classes)} classes and model.head.num_classes={expected}; if the data are right, pass '
                f'--cfg-options model.head.num_classes={len(classes)} '
                f'data_preprocessor.num_classes={len(classes)}'
            )
        return classes
