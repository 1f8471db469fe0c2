"""Pictures for a paper: what is hidden, what is filled in, what is attended to, how training went.

    python tools/visualize.py masks          CONFIG [CKPT] [--strategies ...]
    python tools/visualize.py reconstruction CONFIG CKPT
    python tools/visualize.py attention      CONFIG CKPT [--queries ROW,COLUMN ...]
    python tools/visualize.py proxies        CONFIG CKPT
    python tools/visualize.py distance       CONFIG CKPT [CKPT ...] [CONFIG CKPT ...]
    python tools/visualize.py predictions    CONFIG CKPT [--more NAME CONFIG CKPT ...] --data DIR
    python tools/visualize.py curves         WORK_DIR [WORK_DIR ...]

A strategy is a config file (its model.masking is drawn) or a masking in Python, such as
"dict(type='BlockMasking', mask_ratio=0.4)". Without --strategies the config's own masking is drawn from
several seeds.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction

from mimselfsup.apis import load_config, load_model
from mimselfsup.apis.pictures import (
    choose_images,
    draw_attention,
    draw_distances,
    draw_masks,
    draw_proxies,
    draw_reconstruction,
    image_batches,
    load_images,
    read_runs,
    read_strategies,
)
from mimselfsup.engine.checkpoint import trust_checkpoint
from mimselfsup.engine.launch import is_user_error
from mimselfsup.visualization import check_picture_name, curves_figure, read_scalars, run_labels, save_figure


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest='kind', required=True)
    for kind in ('masks', 'reconstruction', 'attention', 'proxies'):
        sub = _add_kind(kinds, kind, number=500 if kind == 'proxies' else 6)
        sub.add_argument('config')
        sub.add_argument('checkpoint', nargs='?' if kind == 'masks' else None)
        if kind in ('attention', 'proxies'):
            sub.add_argument('--upsample', choices=('nearest', 'bicubic'), default='bicubic')
        else:
            sub.add_argument('--blocks', type=int, default=1, help='fold the rows into blocks side by side')
        if kind == 'attention':
            sub.add_argument(
                '--queries',
                nargs='+',
                type=_place,
                default=(),
                metavar='ROW,COLUMN',
                help='patches whose attention is shown too, counted from 0',
            )
        if kind == 'masks':
            sub.add_argument('--strategies', nargs='+', metavar='STRATEGY')
    distance = _add_kind(kinds, 'distance', number=64)
    distance.add_argument('runs', nargs='+', metavar='CONFIG CKPT', help='configs (.py), behind each its checkpoints')
    distance.add_argument('--labels', nargs='+', help='names of the checkpoints')
    predictions = kinds.add_parser('predictions', help="of fine-tuned detectors (mmdet's) and segmentors (mmseg's)")
    predictions.add_argument('config')
    predictions.add_argument('checkpoint')
    predictions.add_argument('--name', help='of the first (prediction, or that of its folder)')
    predictions.add_argument(
        '--more', nargs=3, action='append', default=[], metavar=('NAME', 'CONFIG', 'CKPT'), help='another column'
    )
    predictions.add_argument('--data', metavar='DIR', help="default: the config's data")
    predictions.add_argument('--num', type=int, default=6, help='pictures drawn from the validation data (6)')
    predictions.add_argument('--seed', type=int, default=0, help='of the drawn pictures')
    predictions.add_argument('--score', type=float, default=0.3, help='objects below it are not drawn (0.3)')
    predictions.add_argument('--out', type=Path, default=Path('predictions.png'), help='.png, .pdf or .svg')
    predictions.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    predictions.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='K=V')
    predictions.add_argument('--trust-checkpoint', action='store_true')
    curves = kinds.add_parser('curves')
    curves.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    curves.add_argument('--out', type=Path, default=Path('curves.png'), help='.png, .pdf or .svg')
    curves.add_argument('--smoothing', type=float, metavar='POINTS', help='1: none; default: a fiftieth of the curve')
    return parser.parse_args(arguments)


def _add_kind(kinds, name: str, number: int) -> argparse.ArgumentParser:
    """A kind of picture of a model and images, of which ``number`` are drawn from each data folder."""
    sub = kinds.add_parser(name)
    sub.add_argument('--out', type=Path, default=Path(f'{name}.png'), help='.png, .pdf or .svg')
    sub.add_argument('--images', nargs='+', metavar='FILE', help='the pictures to use')
    sub.add_argument('--data', nargs='+', metavar='FOLDER', default=(), help="default: the config's data")
    sub.add_argument('--num', type=int, default=number, help=f'pictures drawn from each data folder ({number})')
    sub.add_argument('--seed', type=int, default=0, help='of the drawn pictures, of masks, of random weights')
    sub.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    sub.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='K=V')
    sub.add_argument('--trust-checkpoint', action='store_true')
    return sub


def _place(text: str) -> tuple[int, int]:
    try:
        row, column = (int(each) for each in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text}: must be ROW,COLUMN, such as 3,5') from None
    return row, column


def draw(args: argparse.Namespace):
    if args.kind == 'curves':
        runs = {
            label: read_scalars(path) for label, path in zip(run_labels(args.work_dirs), args.work_dirs, strict=True)
        }
        return curves_figure(runs, args.smoothing)
    if args.kind == 'predictions':
        from mimselfsup.apis.predictions import FineTuned, draw_predictions  # mmdet and mmseg take seconds

        name = args.name or (Path(args.checkpoint).resolve().parent.name if args.more else 'prediction')
        runs = [FineTuned(name, args.config, args.checkpoint), *(FineTuned(*each) for each in args.more)]
        for run in runs if args.trust_checkpoint else ():
            trust_checkpoint(run.checkpoint)
        return draw_predictions(runs, args.data, args.num, args.seed, args.score, args.device, args.cfg_options)
    if args.kind == 'distance':
        runs = read_runs(args.runs)
        if args.trust_checkpoint:
            for checkpoint in (each for _, checkpoints in runs for each in checkpoints):
                trust_checkpoint(checkpoint)
        loaded = [(load_config(path, args.cfg_options), checkpoints) for path, checkpoints in runs]
        paths = choose_images(loaded[0][0], args.images, args.data, args.num, args.seed)
        return draw_distances(loaded, paths, args.labels, args.device, args.seed)
    config = load_config(args.config, args.cfg_options)
    if args.checkpoint and args.trust_checkpoint:
        trust_checkpoint(args.checkpoint)
    model = load_model(config, args.checkpoint, args.device, seed=args.seed)
    paths = choose_images(config, args.images, args.data, args.num, args.seed)
    if args.kind == 'proxies':
        return draw_proxies(model, image_batches(config, paths, model, 'attention'), args.upsample)
    images = load_images(config, paths, model)
    if args.kind == 'masks':
        strategies = read_strategies(config, args.strategies, args.seed)
        return draw_masks(model, images, strategies, args.seed, args.blocks, bool(args.checkpoint))
    if args.kind == 'reconstruction':
        return draw_reconstruction(model, images, args.seed, args.blocks)
    return draw_attention(model, images, args.upsample, args.queries)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    try:
        check_picture_name(args.out)
        print(f'written: {save_figure(draw(args), args.out)}')
    except Exception as error:
        expected = isinstance(error, OSError) or is_user_error(error, before_training=True)
        if os.environ.get('MIMSELFSUP_DEBUG') == '1' or not expected:
            raise
        message = str(error.args[0] if isinstance(error, KeyError) else error)
        tree = isinstance(error, FileNotFoundError) and '\n' in message  # of the data that is expected
        print(f'error: {message if tree else " ".join(message.split())}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
