from .pixels import PixelTarget, patchify, unpatchify

__all__ = ['PixelTarget', 'patchify', 'unpatchify']
