from .dalle import DALLETokenizer
from .perplexity import code_perplexity
from .vq import Codebook, VQTokenizer
from .vqkd import VQKDTokenizer

__all__ = ['Codebook', 'DALLETokenizer', 'VQKDTokenizer', 'VQTokenizer', 'code_perplexity']
