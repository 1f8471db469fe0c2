from .attention_driven import AttentionDrivenMasking
from .attention_guided import AttentionGuidedMasking
from .attmask import AttMask
from .base import BaseMasking, share_to_count
from .block import BlockMasking
from .random import GridMasking, RandomMasking

__all__ = [
    'AttMask',
    'AttentionDrivenMasking',
    'AttentionGuidedMasking',
    'BaseMasking',
    'BlockMasking',
    'GridMasking',
    'RandomMasking',
    'share_to_count',
]
