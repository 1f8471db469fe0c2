from .base import BaseAlgorithm
from .masked_image_modeling import MaskedImageModeling
from .self_distillation import SelfDistillation
from .vector_quantized_autoencoder import VectorQuantizedAutoencoder

__all__ = ['BaseAlgorithm', 'MaskedImageModeling', 'SelfDistillation', 'VectorQuantizedAutoencoder']
