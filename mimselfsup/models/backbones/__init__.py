from .masked_swin import MaskedSwin
from .masked_vit import MaskedViT
from .tokens import Tokens

__all__ = ['MaskedSwin', 'MaskedViT', 'Tokens']
