from .distillation import CrossViewLoss, MaskedPatchLoss
from .masked_classification import MaskedClassificationLoss
from .masked_regression import MaskedRegressionLoss

__all__ = ['CrossViewLoss', 'MaskedClassificationLoss', 'MaskedPatchLoss', 'MaskedRegressionLoss']
