from .linear_decoder import LinearDecoder
from .transformer_decoder import TransformerDecoder

__all__ = ['LinearDecoder', 'TransformerDecoder']
