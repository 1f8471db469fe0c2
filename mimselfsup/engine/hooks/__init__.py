from .bank_refresh import BankRefreshHook
from .broken_images import BrokenImagesHook
from .checkpoint import CheckpointHook
from .knn import KNNHook
from .training_progress import TrainingProgressHook

__all__ = ['BankRefreshHook', 'BrokenImagesHook', 'CheckpointHook', 'KNNHook', 'TrainingProgressHook']
