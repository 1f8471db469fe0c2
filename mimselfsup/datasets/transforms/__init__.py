from .cropping import CROP_META_KEYS, RandomResizedCrop
from .loading import BrokenImage, LoadImage, read_image
from .seed import SeedSample

__all__ = ['CROP_META_KEYS', 'BrokenImage', 'LoadImage', 'RandomResizedCrop', 'SeedSample', 'read_image']
