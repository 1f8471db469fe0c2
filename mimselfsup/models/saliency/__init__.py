from .bank import AttentionBank, crop_maps, normalize_maps
from .teacher import EncoderAttention, cls_attention, mean_over_heads

__all__ = [
    'AttentionBank',
    'EncoderAttention',
    'cls_attention',
    'crop_maps',
    'mean_over_heads',
    'normalize_maps',
]
