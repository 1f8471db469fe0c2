"""How long weighted k-NN of ImageNet-1k takes: 50,000 queries, 1,281,167 gallery images of width 384, k = 200.

    python benchmarks/knn_speed.py                                   # a tenth of the gallery, on two threads
    python benchmarks/knn_speed.py --queries 2000 --threads 1        # seconds; scaled to all queries

Times three galleries, of 1/40, 1/20 and 1/10 of ImageNet's size, one after the other, and fits a line through them:
what it leaves over says how far the time is from linear, and its slope what the whole gallery takes. Queries are
independent of each other, so a part of them scales by their number; only the gallery is normalised once for all, which
makes an estimate from few queries too large. Features are random directions around one centre per class, sorted by
class as the files of ImageNet are; the k-NN is exact whatever they are.

On a machine that is busy with other things the clock says little; CPU time per thread is what it would take alone.

Peak memory is that of the largest gallery measured, and beside it what it would be with all features in memory. An
evaluation maps them from the cache and need not hold them.
"""

import argparse
import resource
import time

import numpy as np
import torch

from mimselfsup.evaluation.knn import DEFAULT_KS, knn_accuracy, nearest_neighbours

GALLERY, QUERIES, CLASSES = 1_281_167, 50_000, 1000
SHARES = (1 / 40, 1 / 20, 1 / 10)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--queries', type=int, default=QUERIES)
    parser.add_argument('--width', type=int, default=384)
    parser.add_argument('--k', type=int, default=max(DEFAULT_KS))
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def make_features(count: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorted by class; the centres are those of every seed."""
    centres = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) * CLASSES // count
    features = torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).mul_(2)
    return features.add_(centres[labels]), labels


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    queries, labels = make_features(args.queries, args.width, seed=1)
    queries, labels = (
        each[torch.randperm(args.queries, generator=torch.Generator().manual_seed(2))] for each in (queries, labels)
    )
    where = torch.cuda.get_device_name() if args.device.startswith('cuda') else f'{args.threads} CPU threads'
    print(f'{args.queries} queries, width {args.width}, k = {args.k}, {where}')
    sizes, seconds, busy = [], [], []
    for share in SHARES:
        gallery, gallery_labels = make_features(round(share * GALLERY), args.width, seed=3)
        start, used = time.perf_counter(), time.process_time()
        similarities, indices = nearest_neighbours(gallery, queries, args.k, device=args.device)
        taken, used = time.perf_counter() - start, time.process_time() - used
        start = time.perf_counter()
        knn_accuracy(similarities, gallery_labels[indices], labels, DEFAULT_KS)
        voting = time.perf_counter() - start
        sizes.append(len(gallery))
        seconds.append(taken)
        busy.append(used / args.threads)
        rate = 2 * len(gallery) * args.queries * args.width / taken / 1e9
        print(
            f'  gallery {len(gallery):>8}: {taken:8.1f} s, {1e6 * taken / len(gallery):7.1f} s per million, '
            f'{rate:.0f} GFLOP/s; {used:.1f} s of CPU; votes of all k {voting:.1f} s',
            flush=True,
        )
    for name, times in (('the clock', seconds), ('CPU time per thread', busy)):
        slope, base = np.polyfit(sizes, times, 1)
        off = max(abs(slope * size + base - each) / each for size, each in zip(sizes, times, strict=True))
        whole = (slope * GALLERY + base + voting) * QUERIES / args.queries
        print(
            f'by {name}: {1e6 * slope:.1f} s per million and {base:.1f} s, off by {100 * off:.1f} % at most; '
            f'{QUERIES} queries and {GALLERY} gallery images: {whole / 60:.1f} minutes'
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rest = 4 * args.width * ((GALLERY - sizes[-1]) + (QUERIES - args.queries)) / 2**30
    print(f'peak memory {peak:.2f} GiB; with all features in memory {peak + rest:.2f} GiB')


if __name__ == '__main__':
    main()
