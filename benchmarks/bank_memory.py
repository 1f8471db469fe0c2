"""Memory of processes that read saliency maps of 1.28 million images from one memory-mapped file.

    python benchmarks/bank_memory.py                # 0.5 GB in a temporary folder, removed afterwards

Several processes open the bank and read random batches, for several numbers of images. Per process it prints, from
/proc/self/smaps_rollup (Linux):

    private    what the bank's reading added that belongs to this process alone: this is what must not grow
    mapped     pages of the file that the process has in its page table; they are the kernel's cache of the file,
               are given back under pressure, and exist once for all processes
    PSS        private memory plus this process's part of what it shares, all of it

and, for comparison, what the maps would take in each process as an array.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mimselfsup.models.saliency import AttentionBank

MIB = 2**20


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, nargs='+', default=[12_800, 128_000, 1_281_167])
    parser.add_argument('--processes', type=int, default=4)
    parser.add_argument('--batches', type=int, default=200)
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--folder', help='where to write the file (default: a temporary folder)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(f'{args.processes} processes, each {args.batches} random batches of {args.batch_size} maps of 14 x 14')
    print(f'{"images":>10} {"as array":>10} {"private":>10} {"mapped":>10} {"PSS":>10} {"per batch":>10}')
    for images in args.images:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path, shape = Path(folder) / 'epoch_0040.npy', (images, 14, 14)
            write(path, shape)
            rows = run(path, shape, args)
        private, mapped, pss, seconds = (max(row[i] for row in rows) for i in range(4))
        size = np.prod(shape) * 2 / MIB
        print(
            f'{images:>10} {size:>6.0f} MiB {private / MIB:>6.1f} MiB {mapped / MIB:>6.0f} MiB '
            f'{pss / MIB:>6.0f} MiB {1000 * seconds:>7.2f} ms'
        )
    print('(the largest of the processes; "as array" is what each would hold if the maps were loaded)')


def write(path: Path, shape: tuple[int, int, int]) -> None:
    maps = np.lib.format.open_memmap(path, mode='w+', dtype=np.float16, shape=shape)
    generator = np.random.default_rng(0)
    for first in range(0, shape[0], 65536):
        part = maps[first : first + 65536]
        part[:] = generator.random(part.shape, dtype=np.float32)
    maps.flush()


def run(path: Path, shape: tuple[int, int, int], args: argparse.Namespace) -> list[tuple[float, ...]]:
    context = multiprocessing.get_context('fork')
    results, together = context.Queue(), context.Barrier(args.processes)
    processes = [
        context.Process(target=read, args=(rank, path, shape, args, together, results))
        for rank in range(args.processes)
    ]
    for process in processes:
        process.start()
    rows = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return rows


def read(rank: int, path: Path, shape: tuple, args: argparse.Namespace, together, results) -> None:
    torch.set_num_threads(1)
    bank = AttentionBank()
    bank.open(path, shape)
    generator = np.random.default_rng(rank)
    bank.read(np.arange(args.batch_size) % shape[0]).float()  # buffers that any batch needs
    together.wait()
    before = memory()
    together.wait()
    started = time.perf_counter()
    for _ in range(args.batches):
        maps = bank.read(generator.integers(0, shape[0], args.batch_size)).float()
    seconds = (time.perf_counter() - started) / args.batches
    assert maps.shape == (args.batch_size, *shape[1:])
    together.wait()  # all still have the file mapped
    after = memory()
    together.wait()
    results.put((after['private'] - before['private'], mapped(path), after['Pss'], seconds))


def memory() -> dict[str, int]:
    """Bytes, by kind; ``private`` without the pages of files."""
    kinds = _fields('/proc/self/smaps_rollup')
    return {**kinds, 'private': kinds['Anonymous']}


def mapped(path: Path) -> int:
    """Bytes of the file that are in this process's page table."""
    total, inside = 0, False
    with open('/proc/self/smaps') as file:
        for line in file:
            first = line.split(None, 1)[0]
            if not first.endswith(':'):
                inside = line.rstrip().endswith(str(path))
            elif inside and first == 'Rss:':
                total += int(line.split()[1]) * 1024
    return total


def _fields(path: str) -> dict[str, int]:
    with open(path) as file:
        next(file)
        return {name.rstrip(':'): int(value) * 1024 for name, value, *_ in map(str.split, file)}


if __name__ == '__main__':
    main()
