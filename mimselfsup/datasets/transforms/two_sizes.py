"""One crop in two sizes: for the encoder, and for what makes its target."""

import mmcv
import numpy as np

from mimselfsup.registry import TRANSFORMS

from .cropping import RandomResizedCrop


@TRANSFORMS.register_module()
class TwoSizeCrop(RandomResizedCrop):
    """Cuts out one random box and resizes it twice; ``img`` becomes a list of both, mirrored together or not.

    The boxes are those of :class:`RandomResizedCrop` from the same random numbers, and are recorded as there. The flip
    is done here since mmcv's is for single images; it is recorded as ``flip`` and ``flip_direction``.

    Args:
        scale: (H, W) or side of the first, for the encoder.
        second_scale: of the second; DALL-E's tokenizer wants 8 px for every patch of the first.
        second_interpolation: of the second.
        flip_prob: how often both are mirrored left to right.
        kwargs: those of RandomResizedCrop, ``interpolation`` of the first among them.

    Source: microsoft/unilm, beit/transforms.py.
    """

    records = (*RandomResizedCrop.records, 'flip', 'flip_direction')

    def __init__(
        self,
        scale: int | tuple[int, int],
        second_scale: int | tuple[int, int],
        second_interpolation: str = 'lanczos',
        flip_prob: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(scale, **kwargs)
        if not 0 <= flip_prob <= 1:
            raise ValueError(f'TwoSizeCrop: flip_prob={flip_prob}, must lie in [0, 1]')
        self.second_scale = (second_scale, second_scale) if isinstance(second_scale, int) else tuple(second_scale)
        self.second_interpolation = second_interpolation
        self.flip_prob = flip_prob

    def transform(self, results: dict) -> dict:
        image = results['img']
        results = super().transform(results)
        top, left, height, width = results['crop_box']
        second = mmcv.imresize(
            image[top : top + height, left : left + width],
            self.second_scale[::-1],
            interpolation=self.second_interpolation,
            backend=self.backend,
        )
        views = [results['img'], second]
        flip = bool(np.random.rand() < self.flip_prob)
        if flip:
            views = [mmcv.imflip(view, 'horizontal') for view in views]
        results.update(img=views, flip=flip, flip_direction='horizontal' if flip else None)
        return results
