from .image_folder import ImageFolder, check_data_root
from .samplers import EpochIndex, EpochSampler
from .transforms import BrokenImage, LoadImage, RandomResizedCrop, SeedSample, read_image

__all__ = [
    'BrokenImage',
    'EpochIndex',
    'EpochSampler',
    'ImageFolder',
    'LoadImage',
    'RandomResizedCrop',
    'SeedSample',
    'check_data_root',
    'read_image',
]
