"""Is feature extraction of a folder bound by the backbone, or by reading and resizing pictures?

    python benchmarks/feature_extraction.py                                          # one thread, one loader process
    python benchmarks/feature_extraction.py --device cuda --workers 14 --images 20000 --batch 256

Images a second of ViT-S/16 at 224 px over JPEGs of 500 x 375 pixels, which is ImageNet's usual size: the loader alone
(decoding, resizing, cropping, collating), the backbone alone (one batch again and again), and both as evaluation runs
them, where the loader works ahead. The pictures are drawn, scenes of the toy world, and thrown away afterwards. Exit
status 1 if both together reach less than 90% of the backbone alone.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch
from mmengine.config import Config

from mimselfsup.apis import load_model
from mimselfsup.datasets.scenes import DrawnBackgrounds, DrawnObjects, compose_scene
from mimselfsup.evaluation.data import build_eval_loader, build_labelled, eval_pipeline
from mimselfsup.evaluation.features import collect_features, encode_features

BOUND = 0.9
DRAWN = 32  # different pictures; the folder holds copies of their files


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=192)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--workers', type=int, default=1, help='loader processes')
    parser.add_argument('--threads', type=int, default=1, help='of the backbone, on a CPU')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--arch', default='small')
    return parser.parse_args()


def write_pictures(root: Path, count: int) -> int:
    """Mean size of a file in bytes."""
    files = []
    for index in range(min(DRAWN, count)):
        scene = compose_scene(DrawnObjects(), DrawnBackgrounds(), 'train', index, 500, (1, 3)).image[62:437]
        code = cv2.imencode('.jpg', cv2.cvtColor(scene, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        files.append(code.tobytes())
    for index in range(count):
        folder = root / 'train' / f'{index % 2}'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'{index:06d}.jpg').write_bytes(files[index % len(files)])
    return sum(map(len, files)) // len(files)


def main() -> int:
    args = parse_args()
    torch.set_num_threads(args.threads)
    on_gpu = args.device.startswith('cuda')
    config = Config(
        dict(
            model=dict(
                type='MaskedImageModeling',
                data_preprocessor=dict(
                    type='mmpretrain.SelfSupDataPreprocessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    to_rgb=True,
                ),
                backbone=dict(type='MaskedViT', arch=args.arch, img_size=224, patch_size=16, hidden='drop'),
                masking=dict(type='RandomMasking', mask_ratio=0.75),
                decoder=dict(type='TransformerDecoder', width=64, depth=1, num_heads=2),
                target=dict(type='PixelTarget'),
                loss=dict(type='MaskedRegressionLoss'),
            )
        )
    )
    model = load_model(config, device=args.device, seed=0)

    def rate(run: Callable[[], object], images: int) -> float:
        start = time.perf_counter()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        return images / (time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder:
        size = write_pictures(Path(folder), args.images)
        dataset = build_labelled(eval_pipeline(config), folder, split='train')

        def batches():
            return build_eval_loader(dataset, args.batch, args.workers)

        batch = next(iter(build_eval_loader(dataset, args.batch, 0)))
        rounds = max(args.images // args.batch, 1)
        encode_features(model, batch, ('cls',))  # warms up
        found = dict(
            loader=rate(lambda: [None for _ in batches()], args.images),
            backbone=rate(
                lambda: [encode_features(model, batch, ('cls',))['cls'].cpu() for _ in range(rounds)],
                rounds * len(batch['data_samples']),
            ),
            both=rate(
                lambda: collect_features(
                    batches(), lambda each: encode_features(model, each, ('cls',)), progress=False
                ),
                args.images,
            ),
        )
    where = torch.cuda.get_device_name() if on_gpu else f'{args.threads} CPU thread(s)'
    print(
        f'MaskedViT {args.arch}, 224 px, on {where}; {args.workers} loader process(es); {args.images} JPEGs of '
        f'500 x 375 pixels, {size / 1024:.0f} KiB each'
    )
    for name, value in found.items():
        print(f'  {name:<10}{value:10.1f} images/s')
    share = found['both'] / found['backbone']
    ahead = found['loader'] / found['backbone']
    print(f'both reach {100 * share:.0f} % of the backbone alone; the loader alone {ahead:.1f} times its rate')
    return int(share < BOUND)


if __name__ == '__main__':
    raise SystemExit(main())
