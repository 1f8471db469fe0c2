"""Scores a frozen checkpoint: weighted k-NN and linear probe of its features, and whether its attention finds objects.

    python tools/evaluate.py knn CONFIG CKPT [--data ROOT]
    python tools/evaluate.py knn,linear CONFIG CKPT --data ROOT
    python tools/evaluate.py attention CONFIG CKPT --data ROOT

ROOT holds train/<class>/* and val/<class>/*, for attention val/* and masks/val/*.png. Every number stands beside
baselines. Prints tables and writes the numbers as JSON.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction

from mimselfsup.apis import evaluate_attention, evaluate_checkpoint, format_attention_table, format_table
from mimselfsup.apis.evaluate import PROTOCOLS as OF_FEATURES
from mimselfsup.engine.checkpoint import trust_checkpoint
from mimselfsup.engine.launch import is_user_error
from mimselfsup.evaluation.features import FEATURES
from mimselfsup.evaluation.knn import DEFAULT_KS, DEFAULT_TEMPERATURE

PROTOCOLS = (*OF_FEATURES, 'attention')


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('protocols', help=f'one or more of {", ".join(PROTOCOLS)}, joined by commas')
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data', metavar='ROOT', help="default: the config's training data")
    parser.add_argument(
        '--feature', nargs='+', choices=FEATURES, help='[CLS] token, mean of the patch tokens; default: both'
    )
    parser.add_argument('--ks', nargs='+', type=int, default=DEFAULT_KS, metavar='K')
    parser.add_argument('--temperature', type=float, default=DEFAULT_TEMPERATURE)
    parser.add_argument('--seeds', nargs='+', type=int, default=(0, 1, 2), help='of the random-init baseline')
    parser.add_argument('--no-baselines', action='store_true')
    parser.add_argument(
        '--pixel-size', type=int, default=32, help='short side, in the raw-pixel baseline (default: 32)'
    )
    parser.add_argument('--mass', type=float, default=0.6, help='attention: the share that is kept (default: 0.6)')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--out', type=Path, metavar='FILE.json', help='default: beside the checkpoint, <name>.<protocols>.json'
    )
    parser.add_argument('--cache', type=Path, metavar='DIR', help='default: features/ beside the checkpoint')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='K=V')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the checkpoint without restriction, which can run any code in it',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    protocols = [name for name in args.protocols.split(',') if name]
    checkpoint = Path(args.checkpoint)
    out = args.out or checkpoint.with_name(f'{checkpoint.stem}.{"-".join(protocols)}.json')
    try:
        if args.trust_checkpoint:
            trust_checkpoint(checkpoint)
        wrong = [name for name in protocols if name not in PROTOCOLS]
        if wrong:
            raise ValueError(f'protocol {wrong[0]!r}: must be one of {", ".join(PROTOCOLS)}')
        common = dict(
            data_root=args.data,
            seeds=() if args.no_baselines else args.seeds,
            batch_size=args.batch_size,
            workers=args.workers,
            device=args.device,
            cfg_options=args.cfg_options,
        )
        of_features = [name for name in protocols if name in OF_FEATURES]
        report, tables = {}, []
        if of_features or not protocols:
            report = evaluate_checkpoint(
                args.config,
                checkpoint,
                of_features,
                features=args.feature,
                ks=args.ks,
                temperature=args.temperature,
                pixel_size=args.pixel_size,
                cache=args.cache or checkpoint.parent / 'features',
                **common,
            )
            tables.append(format_table(report))
        if 'attention' in protocols:
            report['attention'] = evaluate_attention(args.config, checkpoint, mass=args.mass, **common)
            tables.append(format_attention_table(report['attention']))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + '\n')
    except Exception as error:
        expected = isinstance(error, OSError) or is_user_error(error, before_training=True)
        if os.environ.get('MIMSELFSUP_DEBUG') == '1' or not expected:
            raise
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f'error: {" ".join(str(message).split())}', file=sys.stderr)
        return 2
    print('\n\n'.join(tables))
    print(f'written: {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
