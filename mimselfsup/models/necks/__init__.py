from .conv_decoder import ConvDecoder
from .linear_decoder import LinearDecoder
from .projector import Projector
from .projector_stem import ProjectorStem
from .proxy_decoder import ProxyDecoder
from .transformer_decoder import TransformerDecoder

__all__ = ['ConvDecoder', 'LinearDecoder', 'Projector', 'ProjectorStem', 'ProxyDecoder', 'TransformerDecoder']
