from .multi_crop import MultiCropPreprocessor

__all__ = ['MultiCropPreprocessor']
