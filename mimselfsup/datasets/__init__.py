from .image_folder import ImageFolder, check_data_root
from .samplers import EpochIndex, EpochSampler
from .transforms import BrokenImage, LoadImage, MultiCrop, RandomResizedCrop, SeedSample, read_image, view_samples

__all__ = [
    'BrokenImage',
    'EpochIndex',
    'EpochSampler',
    'ImageFolder',
    'LoadImage',
    'MultiCrop',
    'RandomResizedCrop',
    'SeedSample',
    'check_data_root',
    'read_image',
    'view_samples',
]
