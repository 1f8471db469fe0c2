from .bank_refresh import BankRefreshHook
from .broken_images import BrokenImagesHook
from .checkpoint import CheckpointHook
from .distillation_monitor import DistillationMonitorHook
from .gradient_rules import GradientRulesHook
from .knn import KNNHook
from .runtime_info import DeferredRuntimeInfoHook
from .training_progress import TrainingProgressHook

__all__ = [
    'BankRefreshHook',
    'BrokenImagesHook',
    'CheckpointHook',
    'DeferredRuntimeInfoHook',
    'DistillationMonitorHook',
    'GradientRulesHook',
    'KNNHook',
    'TrainingProgressHook',
]
