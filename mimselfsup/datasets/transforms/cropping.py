"""Crops that say where they were taken, so that what belongs to the image can follow."""

from mmpretrain.datasets.transforms import RandomResizedCrop as _RandomResizedCrop

from mimselfsup.registry import TRANSFORMS

CROP_META_KEYS = ('sample_idx', 'img_path', 'crop_box', 'crop_source', 'flip', 'flip_direction', 'broken')
"""``meta_keys`` of ``PackInputs`` for a saliency that follows the crop."""


@TRANSFORMS.register_module()
class RandomResizedCrop(_RandomResizedCrop):
    """mmpretrain's, the same crops from the same random numbers, which also records them.

    Added keys: ``crop_box`` (top, left, height, width), pixels of the image as it came in, and
    ``crop_source`` (H, W), its size. A flip has to come later; one that came earlier is a ValueError, since the
    box would be that of a mirrored image.
    """

    records = ('crop_box', 'crop_source')

    def rand_crop_params(self, img) -> tuple[int, int, int, int]:
        self._box = super().rand_crop_params(img)
        return self._box

    def transform(self, results: dict) -> dict:
        if results.get('flip'):
            raise ValueError('RandomResizedCrop: the image is flipped already; put RandomFlip after the crop')
        source = tuple(int(side) for side in results['img'].shape[:2])
        results = super().transform(results)
        results['crop_box'] = tuple(int(value) for value in self._box)
        results['crop_source'] = source
        return results
