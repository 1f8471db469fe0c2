from .image_folder import ImageFolder, check_data_root
from .samplers import EndlessSampler, EpochIndex, EpochSampler, ResumableBatchSampler
from .seeded import SeededDataset
from .transforms import BrokenImage, LoadImage, MultiCrop, RandomResizedCrop, SeedSample, read_image, view_samples

__all__ = [
    'BrokenImage',
    'EndlessSampler',
    'EpochIndex',
    'EpochSampler',
    'ImageFolder',
    'LoadImage',
    'MultiCrop',
    'RandomResizedCrop',
    'ResumableBatchSampler',
    'SeedSample',
    'SeededDataset',
    'check_data_root',
    'read_image',
    'view_samples',
]
