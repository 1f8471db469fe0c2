from .base import BaseTarget
from .features import FeatureTarget
from .hog import HOGTarget
from .pixels import PixelTarget, patchify, unpatchify
from .tokenizer import TokenTarget

__all__ = ['BaseTarget', 'FeatureTarget', 'HOGTarget', 'PixelTarget', 'TokenTarget', 'patchify', 'unpatchify']
