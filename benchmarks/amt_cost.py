"""What a training step costs with AMT's masking and throwing, as a share of its host's with random masking.

    python benchmarks/amt_cost.py                                     # one CPU thread, batch 8, its CPU time
    python benchmarks/amt_cost.py --device cuda --bf16 --rounds 50    # batch 128, timed by CUDA events

The models are those of the shipped configs (ViT-B, 224 px), and a step is the one the runner makes: normalisation,
mask, forward, backward, clipping, optimizer. For AMT the mask includes reading and cropping the maps, by the data
samples of a batch, from a memory-mapped bank file. All variants of a host take turns within a round, in changing
order, on the same weights; a ratio is the median over the rounds, its 95% interval comes from resampling them. Then

    refresh      one map per image and `interval` epochs: resizing is the loader's, the encoder's forward pass is
                 measured in the same rounds. An epoch in which AMT masks bears 1 / `interval` of a refresh.
    whole run    the epochs before the first refresh mask at random and cost 1.
    operations   of matrix products, counted by torch over the same step, with and without the refresh.

What stays outside is the same for all: loading and augmenting images, logging, checkpoints. Exit status 1 if an
interval, refresh included, lies above its bound as a whole.
"""

import argparse
import ctypes
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mimselfsup.models.saliency.teacher import eval_mode
from mimselfsup.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
# Host: its config, and of each variant the config and the bound of the ratio with the refresh.
HOSTS = dict(
    mae=(
        'mae/mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py',
        {'amt/amt_mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py': 0.66},
    ),
    simmim=(
        'amt/simmim_vit-base-p16_16xb128-amp-coslr-200e_in1k.py',
        {
            'amt/amt_simmim_vit-base-p16_16xb128-amp-coslr-200e_in1k.py': 0.76,
            'amt/amt50_simmim_vit-base-p16_16xb128-amp-coslr-200e_in1k.py': 0.53,
        },
    ),
)
PARTS = ('mask', 'forward', 'backward', 'optimizer')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hosts', nargs='+', choices=HOSTS, default=list(HOSTS))
    parser.add_argument('--batch', type=int, help='default: 8, or 128 on a GPU')
    parser.add_argument('--rounds', type=int, default=10, help='of one step of every variant')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--bf16', action='store_true', help='autocast, as the configs train; default: float32')
    parser.add_argument('--position', help="of the SimMIM backbone instead of the config's, such as shared_relative")
    parser.add_argument('--images', type=int, default=100_000, help='maps in the bank')
    args = parser.parse_args()
    args.batch = args.batch or (128 if args.device.startswith('cuda') else 8)
    return args


def main() -> int:
    args = parse_args()
    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')
    keep_memory()
    torch.manual_seed(0)
    missed = False
    with tempfile.TemporaryDirectory() as folder, DefaultScope.overwrite_default_scope('mimselfsup'):
        bank_file = write_bank(Path(folder) / 'epoch_0040.npy', args.images)
        for host in args.hosts:
            missed |= run_host(host, bank_file, args)
    return int(missed)


def keep_memory() -> None:
    """Stops glibc from giving large buffers back to the kernel, as no GPU's allocator does.

    Fetching them again costs a page fault for every 4 KiB, and only the larger tensors of the step with more tokens
    are above the size from which it happens: that step then seemed to cost a fifth more than its work.
    """
    trim_threshold, mmap_max = -1, -4
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
    except (OSError, AttributeError):  # another C library
        return


class Variant:
    """A config's model with its mask-drawing timed; ``bound`` is None for the host itself."""

    def __init__(self, name: str, host: 'Variant | None', bound: float | None, args: argparse.Namespace) -> None:
        config = Config.fromfile(CONFIGS / name)
        if args.position and config.model.backbone.hidden == 'replace':
            config.model.backbone.position = args.position
        self.config, self.bound, self.clock = config, bound, Clock(args.device)
        self.model = MODELS.build(config.model)
        if host is None:
            self.model.init_weights()
            self.model.to(args.device).train()
            self.optimizer = build_optimizer(config, self.model, args.bf16)
        else:  # the same weights and optimizer: one copy in memory, and none is more used to the cache
            for part in ('backbone', 'decoder', 'data_preprocessor', 'target'):
                if config.model.get(part) != host.config.model.get(part):
                    raise ValueError(f'{name}: model.{part} differs from that of its host')
                setattr(self.model, part, getattr(host.model, part))
            self.optimizer = host.optimizer
        self._draw_mask = self.model.draw_mask
        self.model.draw_mask = self._timed_draw

    @property
    def label(self) -> str:
        masking = self.config.model.masking
        if 'throw_ratio' not in masking:
            return f'random {100 * masking.mask_ratio:.0f}'
        return f'AMT {100 * masking.mask_ratio:.0f}/{100 * masking.throw_ratio:.0f}'

    def _timed_draw(self, *args):
        begin = self.clock.mark()
        self.mask = self._draw_mask(*args)
        self._drawn = begin, self.clock.mark()
        return self.mask

    def step(self, batch: dict) -> dict[str, float]:
        """One training step, as mmengine's ``train_step`` makes it; seconds by part, and of the ``step``."""
        clock, wrapper = self.clock, self.optimizer
        clock.wait()
        start = clock.mark()
        data = self.model.data_preprocessor(batch, True)
        with wrapper.optim_context(self.model):
            losses = self.model(**data, mode='loss')
        loss, _ = self.model.parse_losses(losses)
        forward = clock.mark()
        wrapper.backward(loss)
        backward = clock.mark()
        wrapper.step()
        wrapper.zero_grad()
        end = clock.mark()
        clock.wait()
        mask = clock.between(*self._drawn)
        return dict(
            mask=mask,
            forward=clock.between(start, forward) - mask,
            backward=clock.between(forward, backward),
            optimizer=clock.between(backward, end),
            step=clock.between(start, end),
        )

    @torch.no_grad()
    def maps(self, batch: dict) -> float:
        """Seconds for the maps of as many images as the batch has, as ``BankRefreshHook`` makes them."""
        self.clock.wait()
        start = self.clock.mark()
        with self.optimizer.optim_context(self.model), eval_mode(self.model):
            inputs = self.model.data_preprocessor(dict(inputs=batch['inputs'], data_samples=None), False)['inputs']
            self.model.saliency.compute(self.model.backbone, inputs).cpu()
        end = self.clock.mark()
        self.clock.wait()
        return self.clock.between(start, end)

    @property
    def schedule(self) -> tuple[int, int, int]:
        """Epochs, epochs from one refresh to the next, and refreshes of the whole run."""
        epochs = self.config.train_cfg.max_epochs
        hook = next(hook for hook in self.config.custom_hooks if hook['type'].endswith('BankRefreshHook'))
        return epochs, hook['interval'], (epochs - 1) // hook['interval']


class Clock:
    """CPU time of this process, which others on the machine hardly touch; on a GPU its own events."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith('cuda')

    def mark(self) -> 'float | torch.cuda.Event':
        if not self.cuda:
            return time.process_time()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start, end) -> float:
        return start.elapsed_time(end) / 1000 if self.cuda else end - start

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def build_optimizer(config: Config, model: torch.nn.Module, bf16: bool) -> OptimWrapper:
    settings = config.optim_wrapper.to_dict()
    settings['type'] = 'mimselfsup.AutocastOptimWrapper' if bf16 else 'OptimWrapper'
    settings['optimizer']['lr'] *= 1e-3  # as in the warm-up: noise for images must not blow up the weights
    return build_optim_wrapper(model, settings)


def write_bank(path: Path, images: int) -> tuple[Path, tuple[int, int, int]]:
    """Maps with a peak, as attention has them: a few patches hold most of the weight."""
    shape = (images, 14, 14)
    maps = np.lib.format.open_memmap(path, mode='w+', dtype=np.float16, shape=shape)
    generator = np.random.default_rng(0)
    for first in range(0, images, 65536):
        part = maps[first : first + 65536]
        part[:] = generator.random(part.shape, dtype=np.float32) ** 4
    maps.flush()
    return path, shape


def make_batch(size: int, images: int, generator: np.random.Generator) -> dict:
    """What the loader hands out: random pixels, and a random crop of an image of the bank for each."""
    inputs = torch.from_numpy(generator.integers(0, 256, (size, 3, 224, 224), dtype=np.uint8))
    samples = []
    for index in generator.integers(0, images, size):
        height, width = generator.integers(100, 376, 2)
        box = (
            int(generator.integers(0, 376 - height)),
            int(generator.integers(0, 376 - width)),
            int(height),
            int(width),
        )
        flip = bool(generator.integers(2))
        metainfo = dict(sample_idx=int(index), crop_box=box, crop_source=(375, 375), flip=flip)
        samples.append(DataSample(metainfo=dict(metainfo, flip_direction='horizontal' if flip else None)))
    return dict(inputs=inputs, data_samples=samples)


def count_operations(function: Callable[[], object]) -> int:
    """Multiplications and additions; attention by its formula, without what fused kernels compute twice."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def run_host(host: str, bank_file: tuple, args: argparse.Namespace) -> bool:
    """Measures and prints; whether a bound is missed."""
    name, others = HOSTS[host]
    variants = [Variant(name, None, None, args)]
    variants += [Variant(other, variants[0], bound, args) for other, bound in others.items()]
    for variant in variants[1:]:
        variant.model.saliency.attach()
        variant.model.saliency.open(*bank_file)
    generator = np.random.default_rng(1)

    small = make_batch(2, args.images, generator)
    operations = [count_operations(lambda variant=variant: variant.step(small)) for variant in variants]
    map_operations = count_operations(lambda: variants[1].maps(small))
    steps, maps = measure(variants, args, generator)

    where = torch.cuda.get_device_name() if args.device.startswith('cuda') else 'CPU time of one thread'
    print(
        f'\n{host}: ViT-B, 224 px, {variants[0].config.model.backbone.position} positions, batch {args.batch}, '
        f'{"bfloat16" if args.bf16 else "float32"}, {where}, {args.rounds} rounds, medians in ms'
    )
    print(f'{"":12} {"masked/thrown/visible":>21}' + ''.join(f'{part:>11}' for part in ('step', *PARTS)))
    for variant, rows in zip(variants, steps, strict=True):
        counts = '/'.join(str(variant.mask.counts[kind][0]) for kind in ('masked', 'thrown', 'visible'))
        times = [1000 * np.median([row[part] for row in rows]) for part in ('step', *PARTS)]
        print(f'{variant.label:12} {counts:>21}' + ''.join(f'{each:>11.1f}' for each in times))
    print(f'{"maps":12} {"0/0/196":>21}{1000 * np.median(maps):>11.1f}')

    missed = False
    base = np.array([row['step'] for row in steps[0]])
    print(f'{"shares of random masking":58} {"measured (95%)":24} operations')
    for variant, rows, counted in zip(variants[1:], steps[1:], operations[1:], strict=True):
        measured = costs(np.array([row['step'] for row in rows]) / base, maps / base, variant)
        expected = costs(counted / operations[0], map_operations / operations[0], variant)
        for what, ratios in measured.items():
            low, high = spread(ratios)
            line = f'{np.median(ratios):.3f} ({low:.3f} to {high:.3f})'
            bounded = what.startswith('step +')
            bound = f'  bound {variant.bound}' if bounded else ''
            print(f'{variant.label:12} {what:45} {line:24} {expected[what]:.3f}{bound}')
            missed |= bounded and low > variant.bound
    return missed


def measure(
    variants: list[Variant], args: argparse.Namespace, generator: np.random.Generator
) -> tuple[list[list[dict[str, float]]], np.ndarray]:
    """Seconds of each variant's steps, by part, and of the maps of a batch: one of each per round."""
    steps: list[list[dict[str, float]]] = [[] for _ in variants]
    maps: list[float] = []
    for number in range(-2, args.rounds):  # two to warm up
        batch = make_batch(args.batch, args.images, generator)
        turns = list(range(len(variants) + 1))
        for turn in np.roll(turns, number):
            if turn == len(variants):
                maps.append(variants[1].maps(batch))
            else:
                steps[turn].append(variants[turn].step(batch))
    return [rows[2:] for rows in steps], np.array(maps[2:])


def costs(step, maps, variant: Variant) -> dict:
    """From what a step and the maps of a batch cost, relative to a step with random masking."""
    epochs, interval, refreshes = variant.schedule
    return {
        'step': step,
        f'step + 1/{interval} of the maps': step + maps / interval,
        f'run: {interval} of {epochs} epochs random, {refreshes} refreshes': (
            interval + (epochs - interval) * step + refreshes * maps
        )
        / epochs,
    }


def spread(values: np.ndarray) -> tuple[float, float]:
    """95% interval of the median, from resampling the rounds."""
    draws = values[np.random.default_rng(0).integers(0, len(values), (2000, len(values)))]
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)


if __name__ == '__main__':
    raise SystemExit(main())
