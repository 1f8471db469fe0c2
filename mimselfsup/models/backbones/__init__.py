from .masked_swin import MaskedSwin
from .masked_vit import MaskedViT
from .resnet import TokenResNet
from .tokens import Tokens, image_feature

__all__ = ['MaskedSwin', 'MaskedViT', 'TokenResNet', 'Tokens', 'image_feature']
