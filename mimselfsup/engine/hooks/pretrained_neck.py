"""Weights of a pre-training that belong between the backbone and a new head."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mimselfsup.engine.checkpoint import load_weights
from mimselfsup.registry import HOOKS

from .run_state import model_of


@HOOKS.register_module()
class PretrainedNeckHook(Hook):
    """Fills ``model.neck`` from the file of ``--pretrained``, which by itself fills ``model.backbone`` alone.

    ``prefix``: where the neck's parameters stand in the file; 'teacher.projector.' for a ProjectorStem. Without
    ``--pretrained`` the neck keeps its initialisation. Raises CheckpointError for a file that does not have all of it.
    """

    def __init__(self, prefix: str = 'teacher.projector.') -> None:
        self.prefix = prefix

    def before_train(self, runner: Runner) -> None:
        path = runner.cfg.get('pretrained')
        if path and not runner.iter:
            runner.logger.info(f'neck from {path}: {load_weights(model_of(runner).neck, path, self.prefix)}')
