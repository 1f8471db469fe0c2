from .base import BaseAlgorithm
from .masked_image_modeling import MaskedImageModeling

__all__ = ['BaseAlgorithm', 'MaskedImageModeling']
