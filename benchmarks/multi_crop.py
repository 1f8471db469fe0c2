"""What twelve views of a photograph cost: the usual pipeline against MultiCrop and MultiCropPreprocessor, on one core.

    python benchmarks/multi_crop.py

Draws JPEG files of 500 x 375 pixels (quality 92, of the size that photographs have) and makes 2 views of 224 px and 10
of 96 px of each, with DINO's augmentations, as float tensors in batches:

(a) usual: Pillow decodes, torchvision's transforms of Pillow images do the rest, view by view; all in the loader.
(b) ours, what the loader's processes do: decode, crop, pack, collate.
(c) ours, the whole on the CPU: (b), then colours, blur and normalisation of the batch.

The three take turns in one process with one thread; what counts is the time that the process itself computes, since
others may use the machine. Images per second are medians over the rounds, the ratios are medians of the rounds' ratios
with a 95% interval from resampling the rounds. Exit status 1 if an interval lies below its bound, 4 for (b) to (a) and
1.3 for (c) to (a).
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import default_collate
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms

from mimselfsup.datasets import ImageFolder
from mimselfsup.datasets.scenes.backgrounds import DrawnBackgrounds
from mimselfsup.datasets.scenes.compose import compose_scene
from mimselfsup.datasets.scenes.shapes import DrawnObjects
from mimselfsup.models.preprocessors import MultiCropPreprocessor

BOUNDS = dict(workers=4.0, whole=1.3)
TEXTURE = 25  # standard deviation, in levels
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=32, help='files, and images per batch')
    parser.add_argument('--rounds', type=int, default=15)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        draw_photographs(Path(folder), args.images)
        files = sorted(Path(folder).iterdir())
        size = np.mean([file.stat().st_size for file in files]) / 1024
        print(f'{len(files)} files of 500 x 375, {size:.0f} KiB each; torch {torch.__version__}, {args.rounds} rounds')
        seconds = measure(folder, files, args.rounds)
    rates = {name: len(files) / np.median(times) for name, times in seconds.items()}
    print(f'(a) usual pipeline     {rates["usual"]:7.1f} images per second and core')
    generator = np.random.default_rng(0)
    failed = False
    for name, title in (('workers', '(b) our workers'), ('whole', '(c) ours, all on CPU')):
        ratios = seconds['usual'] / seconds[name]
        draws = ratios[generator.integers(0, len(ratios), (2000, len(ratios)))]
        low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
        failed |= high < BOUNDS[name]
        print(
            f'{title:22} {rates[name]:7.1f} images per second and core, {np.median(ratios):5.2f} times (a) '
            f'(95%: {low:.2f} to {high:.2f}), bound {BOUNDS[name]:g}'
        )
    return int(failed)


def measure(folder: str, files: list[Path], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of CPU time that each way takes for all files, by round."""
    usual = UsualPipeline()
    pipeline = [
        dict(type='mimselfsup.SeedSample'),
        dict(type='mimselfsup.LoadImage'),
        dict(type='mimselfsup.MultiCrop'),
        dict(type='mmpretrain.PackInputs', meta_keys=('sample_idx', 'img_path', 'crop_source', 'crop_boxes', 'flips')),
    ]
    dataset = ImageFolder(folder, pipeline=pipeline)
    preprocessor = MultiCropPreprocessor(mean=MEAN, std=STD, to_rgb=True)

    def workers() -> dict:
        return default_collate([dataset[index] for index in range(len(files))])

    ways = dict(
        usual=lambda: [torch.stack(views) for views in zip(*(usual(file) for file in files), strict=True)],
        workers=workers,
        whole=lambda: preprocessor(workers(), True)['inputs'],
    )
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    for way in ways.values():
        way()
    seconds = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways)
        for name in names[number % 3 :] + names[: number % 3]:
            start = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - start)
    return {name: np.array(times) for name, times in seconds.items()}


class UsualPipeline:
    """As most code does it: everything by image and by view, on Pillow images."""

    def __init__(self) -> None:
        bicubic = transforms.InterpolationMode.BICUBIC
        jitter = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8)
        colours = [transforms.RandomHorizontalFlip(), jitter, transforms.RandomGrayscale(0.2)]
        normalize = [transforms.ToTensor(), transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD])]

        def view(size: int, scale: tuple[float, float], *last) -> transforms.Compose:
            crop = transforms.RandomResizedCrop(size, scale=scale, interpolation=bicubic)
            return transforms.Compose([crop, *colours, *last, *normalize])

        local = view(96, (0.05, 0.25), _Sometimes(_blur, 0.5))
        self.views = [
            view(224, (0.25, 1.0), _Sometimes(_blur, 1.0)),
            view(224, (0.25, 1.0), _Sometimes(_blur, 0.1), _Sometimes(ImageOps.solarize, 0.2)),
            *[local] * 10,
        ]

    def __call__(self, file: Path) -> list[torch.Tensor]:
        with Image.open(file) as opened:
            picture = opened.convert('RGB')
        return [view(picture) for view in self.views]


class _Sometimes:
    def __init__(self, function, probability: float) -> None:
        self.function = function
        self.probability = probability

    def __call__(self, picture: Image.Image) -> Image.Image:
        return self.function(picture) if random.random() < self.probability else picture


def _blur(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def draw_photographs(folder: Path, count: int) -> None:
    """Scenes of the toy world with some 1/f texture, which is what makes photographs as large as they are."""
    objects, backgrounds = DrawnObjects(10), DrawnBackgrounds()
    frequency = np.hypot(np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)[None])
    frequency[0, 0] = np.inf
    for index in range(count):
        scene = compose_scene(objects, backgrounds, 'train', index, 500, (2, 4)).image[62:437].astype(np.float32)
        rng = np.random.default_rng(index)
        texture = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((375, 500))) / frequency, (375, 500))
        scene += (TEXTURE * texture / texture.std())[..., None]
        Image.fromarray(scene.round().clip(0, 255).astype(np.uint8)).save(folder / f'{index:03}.jpg', quality=92)


if __name__ == '__main__':
    sys.exit(main())
