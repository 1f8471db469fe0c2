"""The order of colours, where a data set has another than the files that are read."""

import numpy as np
from mmcv.transforms import BaseTransform

from mimselfsup.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ReverseChannels(BaseTransform):
    """RGB to BGR and back, of ``img`` (H, W, C).

    mmpretrain's CIFAR hands out RGB, and what follows in a pipeline takes images for BGR, as they are read from files.
    Sets ``img_shape`` and ``ori_shape`` too, which that data set does not.
    """

    def transform(self, results: dict) -> dict:
        results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results
