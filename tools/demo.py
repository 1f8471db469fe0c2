"""The main job from end to end: a toy world, pre-training on it, evaluation, pictures, one table.

    python tools/demo.py [--out work_dirs/demo] [--data DIR] [--epochs N]

Every step is one of the commands a user would type, and is printed before it runs. Steps that an earlier demo has
finished are not repeated; --fresh starts over. --data takes a folder of your own with train/<class> and val/<class>.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/mae/mae_vit-toy-p6_1xb64-coslr-100e_toy.py'


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--data', type=Path, help='default: the toy world, drawn into data/toy')
    parser.add_argument('--config', default=CONFIG)
    parser.add_argument('--epochs', type=int, help="default: the config's")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--fresh', action='store_true', help='forget what an earlier demo left in --out')
    return parser.parse_args()


def step(title: str, *command: str | Path, threads: int | None = None) -> float:
    """Runs a tool of this folder, showing its command line; its duration in seconds. Exits with its code if it
    fails."""
    shown = shlex.join(['python', *map(str, command)])
    print(f'\n== {title}\n$ {shown}', flush=True)
    start = time.time()
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)} if threads else None
    code = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=environment).returncode
    if code:
        print(f'error: "{title}" ended with code {code}; the command is the one above', file=sys.stderr)
        sys.exit(code)
    return time.time() - start


def main() -> None:
    args = parse()
    start = time.time()
    out = args.out if args.out.is_absolute() else ROOT / args.out
    if args.fresh:
        shutil.rmtree(out, ignore_errors=True)
    data = args.data or Path('data/toy')
    durations = {}
    if args.data is None:
        durations['toy world'] = step(
            'A world of labelled scenes',
            'tools/make_scenes.py',
            data,
            '--size',
            '64',
            '--num-train',
            '4000',
            '--num-val',
            '1000',
        )
    options = [f'randomness.seed={args.seed}']
    if args.epochs:
        options += [f'train_cfg.max_epochs={args.epochs}', f'param_scheduler.1.end={args.epochs}']
    train = ['tools/train.py', args.config, '--data', data, '--work-dir', args.out, '--resume']
    # One thread: a model of this size loses more than it gains by sharing an operation between cores.
    durations['pre-training'] = step('Pre-training without labels', *train, '--cfg-options', *options, threads=1)
    checkpoint = args.out / (out / 'last_checkpoint').read_text().strip()
    results = args.out / 'results.json'
    durations['evaluation'] = step(
        'Frozen features: k-NN and linear probe, beside two baselines',
        *('tools/evaluate.py', 'knn,linear', args.config, checkpoint, '--data', data, '--out', results),
    )
    pictures = dict(
        masks=['masks', args.config, '--data', data / 'val', '--strategies']
        + [
            args.config,
            "dict(type='BlockMasking', mask_ratio=0.75, min_block=4)",
            "dict(type='GridMasking', mask_ratio=0.75)",
        ],
        reconstruction=['reconstruction', args.config, checkpoint, '--data', data / 'val', '--blocks', '2'],
        attention=['attention', args.config, checkpoint, '--data', data / 'val'],
        curves=['curves', args.out],
    )
    durations['pictures'] = 0.0
    for name, command in pictures.items():
        target = args.out / 'pictures' / f'{name}.png'
        durations['pictures'] += step(f'Picture: {name}', 'tools/visualize.py', *command, '--out', target)

    print(f'\n== What came out, in {(time.time() - start) / 60:.1f} minutes', flush=True)
    print('   '.join(f'{name} {seconds:.0f} s' for name, seconds in durations.items()), flush=True)
    from mimselfsup.apis import format_table  # late: it takes seconds, and all else runs in processes of its own

    print('\n' + format_table(json.loads((ROOT / results).read_text())))
    print(
        f'\nWhere to look: {args.out}/pictures/*.png   what the model hides, fills in and attends to\n'
        f'               {results}   every number of the table\n'
        f'               {checkpoint}   the weights\n'
        f'               tensorboard --logdir {args.out}   the curves, live\n'
        f'Next, on images of your own: python tools/train.py {args.config} --data FOLDER'
    )


if __name__ == '__main__':
    main()
