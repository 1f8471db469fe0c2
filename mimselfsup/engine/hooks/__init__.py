from .bank_refresh import BankRefreshHook
from .best_and_last import BestAndLastHook
from .broken_images import BrokenImagesHook
from .checkpoint import CheckpointHook
from .class_check import ClassCheckHook
from .distillation_monitor import DistillationMonitorHook
from .gradient_rules import GradientRulesHook
from .knn import KNNHook
from .pretrained_neck import PretrainedNeckHook
from .running_statistics import RunningStatisticsHook
from .runtime_info import DeferredRuntimeInfoHook
from .training_progress import TrainingProgressHook

__all__ = [
    'BankRefreshHook',
    'BestAndLastHook',
    'BrokenImagesHook',
    'CheckpointHook',
    'ClassCheckHook',
    'DeferredRuntimeInfoHook',
    'DistillationMonitorHook',
    'GradientRulesHook',
    'KNNHook',
    'PretrainedNeckHook',
    'RunningStatisticsHook',
    'TrainingProgressHook',
]
