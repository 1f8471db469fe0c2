from .channels import ReverseChannels
from .cropping import CROP_META_KEYS, RandomResizedCrop
from .loading import BrokenImage, LoadImage, read_image
from .multi_crop import MULTI_CROP_META_KEYS, MultiCrop, view_samples
from .seed import SeedSample
from .two_sizes import TwoSizeCrop

__all__ = [
    'CROP_META_KEYS',
    'MULTI_CROP_META_KEYS',
    'BrokenImage',
    'LoadImage',
    'MultiCrop',
    'RandomResizedCrop',
    'ReverseChannels',
    'SeedSample',
    'TwoSizeCrop',
    'read_image',
    'view_samples',
]
