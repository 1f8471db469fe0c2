"""What masking costs in self-distillation: a training step with it against the same step without.

    python benchmarks/masking_cost.py                              # one CPU thread, batch 2, its CPU time
    python benchmarks/masking_cost.py --device cuda --bf16         # batch 64, timed by CUDA events
    python benchmarks/masking_cost.py --pairs dino-mst --depth 1 --rounds 2                   # does it run?

ViT-S/16, 2 x 224 + 10 x 96 pixels; a step is forward, backward, optimizer and EMA, on views that are already
normalised. The two of a pair differ in what is named and in nothing else:

    ibot-attmask    iBOT, K = 8192: AttMask High against random masking, both of 30% of the patches of every view, so
                    that equally many patches are predicted. What it costs to have the mask made of attention.
    dino-attmask    DINO, K = 65536: AttMask High (10 to 50% of half of the views) against no masking.
    mst             MST, K = 65536, BN in the head, restoration in both: attention-guided masking against none.
    dino-mst        the same masking in DINO, without the restoration.

They take turns within a round, in changing order, on the same views; a ratio is the median over the rounds, its 95%
interval comes from resampling them. Exit status 1 if an interval lies above 1.03 as a whole.
"""

import argparse
import copy

import numpy as np
import torch
from amt_cost import keep_memory
from mmengine.logging import MMLogger
from self_distillation import Ours, Ratio, build, ibot, make_views, vit

BOUND = 1.03
ATTENTION = dict(type='EncoderAttention')
GUIDED = dict(masking=dict(type='AttentionGuidedMasking', num=8, p=0.1), saliency=ATTENTION)
UNMASKED = dict(masking=None, saliency=None)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', nargs='+', choices=PAIRS, default=list(PAIRS))
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--bf16', action='store_true', help='autocast; default: float32')
    parser.add_argument('--batch', type=int, help='images; default: 2, or 64 on a GPU')
    parser.add_argument('--rounds', type=int, help='of one step each; default: 8, or 30 on a GPU')
    parser.add_argument('--local-views', type=int, default=10)
    parser.add_argument('--depth', type=int, default=12, help='blocks of the ViT')
    args = parser.parse_args()
    on_gpu = args.device.startswith('cuda')
    args.batch = args.batch or (64 if on_gpu else 2)
    args.rounds = args.rounds or (30 if on_gpu else 8)
    return args


def main() -> int:
    args = parse_args()
    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')
    keep_memory()
    where = torch.cuda.get_device_name() if args.device.startswith('cuda') else 'CPU time of one thread'
    print(
        f'ViT-S/16 ({args.depth} blocks), 2 x 224 + {args.local_views} x 96, batch {args.batch}, '
        f'{"bfloat16" if args.bf16 else "float32"}, {where}, {args.rounds} rounds, medians in ms'
    )
    print(f'{"":14}{"with":>10}{"without":>10}{"mask":>8}   ratio (95%), bound {BOUND}')
    missed = False
    for name in args.pairs:
        missed |= compare(name, args) > BOUND
    return int(missed)


def compare(name: str, args: argparse.Namespace) -> float:
    """Prints the line of a pair; the lower end of its interval."""
    steps = []
    for config in PAIRS[name](args.depth):
        torch.manual_seed(0)
        steps.append(Ours(build(copy.deepcopy(config), args.device), args))
    seconds = [[], []]
    for number in range(-1, args.rounds):  # one to warm up
        torch.manual_seed(number + 1)
        views = make_views(args)
        for turn in np.roll([0, 1], number):
            torch.manual_seed(number + 1)
            seconds[turn].append(steps[turn](views))
    totals = np.array([[sum(parts.values()) for parts in each[1:]] for each in seconds])
    ratio = Ratio(totals[0] / totals[1])
    drawn = np.median([parts['mask'] for parts in seconds[0][1:]])
    print(f'{name:14}{"".join(f"{1000 * each:>10.1f}" for each in np.median(totals, axis=1))}', end='')
    print(f'{1000 * drawn:>8.2f}   {ratio}', flush=True)
    return ratio.low


def dino(depth: int, hidden: str) -> dict:
    return dict(
        type='SelfDistillation',
        backbone=vit(depth, hidden),
        projector=dict(type='Projector', num_prototypes=65536, norm_last_layer=False),
        loss=dict(type='CrossViewLoss', teacher_temp=0.04),
    )


def mst(depth: int, hidden: str) -> dict:
    config = dino(depth, hidden)
    config['projector'].update(norm='BN')
    return config | dict(restoration=dict(type='ConvDecoder', norm='BN'), restoration_weight=0.6)


def ibot_pair(depth: int) -> tuple[dict, dict]:
    attention = ibot(depth) | dict(masking=dict(type='AttMask', mode='high', mask_ratio=0.3))
    return attention, ibot(depth) | dict(masking=dict(type='RandomMasking', mask_ratio=0.3), saliency=None)


def dino_pair(depth: int) -> tuple[dict, dict]:
    masking = dict(type='AttMask', mode='high', mask_ratio=(0.1, 0.5), mask_prob=0.5)
    return dino(depth, 'replace') | dict(masking=masking, saliency=ATTENTION), dino(depth, 'drop') | UNMASKED


def mst_pair(depth: int) -> tuple[dict, dict]:
    return mst(depth, 'replace') | GUIDED, mst(depth, 'drop') | UNMASKED


def dino_mst_pair(depth: int) -> tuple[dict, dict]:
    return dino(depth, 'replace') | GUIDED, dino(depth, 'drop') | UNMASKED


PAIRS = {'ibot-attmask': ibot_pair, 'dino-attmask': dino_pair, 'mst': mst_pair, 'dino-mst': dino_mst_pair}


if __name__ == '__main__':
    raise SystemExit(main())
