from .base import BaseMasking, share_to_count
from .block import BlockMasking
from .random import GridMasking, RandomMasking

__all__ = ['BaseMasking', 'BlockMasking', 'GridMasking', 'RandomMasking', 'share_to_count']
