"""What HOG costs in a training step of MaskFeat: the target of a batch against the whole step on that batch.

    python benchmarks/hog_cost.py                                     # ViT-B, 224 px, bfloat16 on a GPU
    python benchmarks/hog_cost.py --batch 2 --repeats 5               # two CPU cores

A step is masks, forward, HOG, backward, clipping and AdamW, as in configs/maskfeat. Both, and mmpretrain's generator
beside them, are timed in turn, in one process; the share is the median over the rounds, and its 95% interval comes from
resampling them. Exit status 1 if the whole interval lies above the bound of 3%.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from mmpretrain.models.selfsup.maskfeat import HOGGenerator

import mimselfsup.models  # noqa: F401
from mimselfsup.registry import MODELS

BOUND = 0.03


def parse_args() -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='base', help='of MaskedViT')
    parser.add_argument('--batch', type=int, default=256 if cuda else 4)
    parser.add_argument('--repeats', type=int, default=30 if cuda else 5, help='rounds of one timing each')
    parser.add_argument('--device', default='cuda' if cuda else 'cpu')
    parser.add_argument('--fp32', action='store_true', help='no bfloat16 autocast; the default on a CPU')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    torch.manual_seed(0)
    on_gpu = args.device.startswith('cuda')
    amp = on_gpu and not args.fp32
    model = MODELS.build(
        dict(
            type='MaskedImageModeling',
            backbone=dict(type='MaskedViT', arch=args.arch, img_size=224, patch_size=16, hidden='replace'),
            masking=dict(type='BlockMasking', mask_ratio=78 / 196, min_block=15),
            decoder=dict(type='LinearDecoder'),
            target=dict(type='HOGTarget'),
            loss=dict(type='MaskedRegressionLoss', criterion='l2'),
        )
    ).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=on_gpu)
    theirs = HOGGenerator(gaussian_window=0).to(args.device)
    images = torch.randn(args.batch, 3, 224, 224, device=args.device)

    def step() -> None:
        with torch.autocast(args.device, torch.bfloat16) if amp else nullcontext():
            loss = model.loss(images)['loss_reconstruction']
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.02)
        optimizer.step()

    # On a CPU that others use as well, its time says more than the time of day.
    clock = time.perf_counter if on_gpu else time.process_time

    def seconds(what: Callable[[], object]) -> float:
        _wait(on_gpu)
        start = clock()
        what()
        _wait(on_gpu)
        return clock() - start

    kinds = (step, lambda: model.target(images), lambda: theirs(images))
    for what in kinds * (3 if on_gpu else 1):
        seconds(what)
    times = np.array([[seconds(what) for what in kinds] for _ in range(args.repeats)])  # (rounds, kinds)

    shares = times[:, 1] / times[:, 0]
    draws = shares[np.random.default_rng(0).integers(0, len(shares), (2000, len(shares)))]
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    where = torch.cuda.get_device_name() if on_gpu else f'{torch.get_num_threads()} CPU threads, time of the processor'
    precision = 'bfloat16' if amp else 'float32'
    print(f'MaskFeat, ViT {args.arch}, 224 px, batch {args.batch}, {precision}, {where}, {args.repeats} rounds')
    for name, value in zip(('step', 'HOG in it', "mmpretrain's"), np.median(times, axis=0), strict=True):
        print(f'{name:<13} {1e3 * value:10.2f} ms')
    print(f'share         {100 * np.median(shares):10.2f}% (95%: {100 * low:.2f}% to {100 * high:.2f}%)', end='')
    print(f', bound {100 * BOUND:.0f}%')
    return int(low > BOUND)


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()


if __name__ == '__main__':
    raise SystemExit(main())
