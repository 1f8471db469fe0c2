from .masked_swin import MaskedSwin
from .masked_vit import MaskedViT
from .relative_vit import RelativeViT
from .resnet import TokenResNet
from .tokens import Tokens, image_feature

__all__ = ['MaskedSwin', 'MaskedViT', 'RelativeViT', 'TokenResNet', 'Tokens', 'image_feature']
