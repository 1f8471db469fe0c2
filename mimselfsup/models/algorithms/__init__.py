from .base import BaseAlgorithm
from .linear_probe import LinearProbe
from .masked_image_modeling import MaskedImageModeling
from .self_distillation import SelfDistillation
from .vector_quantized_autoencoder import VectorQuantizedAutoencoder

__all__ = ['BaseAlgorithm', 'LinearProbe', 'MaskedImageModeling', 'SelfDistillation', 'VectorQuantizedAutoencoder']
