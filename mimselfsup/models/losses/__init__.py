from .masked_regression import MaskedRegressionLoss

__all__ = ['MaskedRegressionLoss']
