"""Makes the random part of a pipeline a pure function of which sample is asked for."""

import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mimselfsup.registry import TRANSFORMS


def derive_seed(*parts: int) -> int:
    """One 64-bit seed from several non-negative integers; close tuples give unrelated seeds."""
    return int(np.random.SeedSequence([int(part) for part in parts]).generate_state(1, np.uint64)[0])


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seeds ``random``, ``numpy.random`` and torch's CPU generator from (seed, epoch, index of the sample).

    First in a training pipeline, it makes what follows independent of the number of workers, of the number
    of processes and of when the run was resumed. The three numbers come with the index that
    :class:`~mimselfsup.datasets.samplers.EpochSampler` yields; with a plain integer, as other samplers
    yield, the generators are left alone.
    """

    def transform(self, results: dict) -> dict:
        seed_generators(results.get('sample_idx'))
        return results


def seed_generators(index: int | None) -> None:
    """Seeds the three generators from an :class:`~mimselfsup.datasets.samplers.EpochIndex`; does nothing for others."""
    epoch = getattr(index, 'epoch', None)
    if epoch is None:
        return
    seed = derive_seed(getattr(index, 'seed', 0), epoch, int(index))
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    # Not torch.manual_seed, which also reseeds the accelerators: with num_workers=0 this runs in the
    # main process, and inside a forked worker it must not touch CUDA.
    torch.default_generator.manual_seed(seed)
