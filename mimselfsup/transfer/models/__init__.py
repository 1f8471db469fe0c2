from .federated_loss import FederatedLoss
from .simple_feature_pyramid import SimpleFeaturePyramid
from .vitdet import ViTDet

__all__ = ['FederatedLoss', 'SimpleFeaturePyramid', 'ViTDet']
