from .token_mask import TokenMask, TokenSubset

__all__ = ['TokenMask', 'TokenSubset']
