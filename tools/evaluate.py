"""Puts frozen checkpoints through protocols, each number beside its baselines.

    python tools/evaluate.py PROTOCOL[,PROTOCOL...] CONFIG CKPT [--data ROOT]
    python tools/evaluate.py all CONFIG CKPT [--data ROOT] [--out DIR]
    python tools/evaluate.py all --model NAME CONFIG CKPT --model NAME CONFIG CKPT ... [--protocols P,P] [--out DIR]

The first prints tables and writes the numbers as JSON. The others make a model card, DIR/card.json and DIR/card.html,
of any number of checkpoints side by side; a run that was killed goes on where it was. Options of a protocol stand in
its group below, and are refused where it is not asked for; one that several have goes to all of them, or, as in
--knn.temperature 0.1, to one.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction

from mimselfsup.apis.card import CardModel, make_card, usual_data
from mimselfsup.apis.protocol_options import ProtocolOptions
from mimselfsup.apis.protocols import PROTOCOLS, check_names, read_roots, run_protocols, usual_protocols
from mimselfsup.engine.checkpoint import trust_checkpoint
from mimselfsup.engine.launch import is_user_error

OPTIONS = ProtocolOptions(PROTOCOLS)


def parse(arguments: Sequence[str], first: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('protocols', help=f'all, or one or more of {", ".join(PROTOCOLS)}, joined by commas')
    parser.add_argument('config', nargs='?')
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('--data', metavar='ROOT', help="default: the config's training data")
    parser.add_argument(
        '--data-for',
        nargs='+',
        action='extend',
        default=[],
        metavar='PROTOCOL=ROOT',
        help='a folder for one protocol, where it is not --data or its usual folder below that',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=(0, 1, 2), help='of the random-init baseline')
    parser.add_argument('--no-baselines', action='store_true')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--out',
        type=Path,
        help='default: beside the checkpoint, <name>.<protocols>.json; of all a folder, default: card/ beside it',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='K=V')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle checkpoints without restriction, which can run any code in them',
    )
    card = parser.add_argument_group('all', 'a model card')
    card.add_argument(
        '--model', nargs=3, action='append', default=[], metavar=('NAME', 'CONFIG', 'CKPT'), help='once per checkpoint'
    )
    card.add_argument('--protocols', dest='chosen', metavar='P,P', help='default: all whose data are there')
    card.add_argument('--pictures', type=int, default=6, metavar='N', help='shown with neighbours and attention')
    card.add_argument('--title', default='')
    OPTIONS.add_to(parser, first)
    return parser.parse_intermixed_args(arguments)


def options_of(names: Sequence[str], arguments: Sequence[str]) -> dict[str, dict[str, Any]]:
    OPTIONS.refuse_others(arguments, names)
    return {name: OPTIONS.read(parse(arguments, name), name) for name in names}


def common_of(args: argparse.Namespace) -> dict[str, Any]:
    return dict(
        seeds=() if args.no_baselines else args.seeds,
        batch_size=args.batch_size,
        workers=args.workers,
        device=args.device,
        cfg_options=args.cfg_options,
    )


def evaluate(args: argparse.Namespace, arguments: Sequence[str]) -> None:
    names = check_names([name for name in args.protocols.split(',') if name])
    if not args.checkpoint:
        raise ValueError(f'{args.protocols}: CONFIG CKPT must follow')
    if args.model or args.chosen:
        raise ValueError(f'{"--model" if args.model else "--protocols"}: is for a model card; ask for all')
    if args.trust_checkpoint:
        trust_checkpoint(args.checkpoint)
    out = args.out or Path(args.checkpoint).with_name(f'{Path(args.checkpoint).stem}.{"-".join(names)}.json')
    roots = read_roots(args.data, args.data_for, names)
    report, texts = run_protocols(args.config, args.checkpoint, options_of(names, arguments), roots, **common_of(args))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + '\n')
    print('\n\n'.join(texts))
    print(f'written: {out}')


def evaluate_all(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    models = [CardModel(*words) for words in args.model]
    if args.config:
        if not args.checkpoint:
            raise ValueError(f'all {args.config}: CKPT must follow')
        models.insert(0, CardModel(Path(args.checkpoint).stem, args.config, args.checkpoint))
    if not models:
        raise ValueError('all: give CONFIG CKPT, or --model NAME CONFIG CKPT once per checkpoint')
    if args.trust_checkpoint:
        for model in models:
            trust_checkpoint(model.checkpoint)
    data = args.data or usual_data(models, args.cfg_options)
    if args.chosen:
        names = check_names([name for name in args.chosen.split(',') if name])
    else:
        names = usual_protocols(data, args.data_for)
    out = args.out or Path(models[0].checkpoint).parent / 'card'
    card = make_card(
        models,
        out,
        options_of(names, arguments),
        read_roots(data, args.data_for, names),
        pictures=args.pictures,
        title=args.title,
        say=lambda line: print(line, flush=True),
        **common_of(args),
    )
    failed = [f'{name} of {model}' for name, entry in card['protocols'].items() for model in entry['failed']]
    print(f'written: {out / "card.html"}, {out / "card.json"}')
    if failed:
        print(f'error: not measured, the reason stands in the card: {", ".join(failed)}', file=sys.stderr)
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parse(arguments)
    try:
        if args.protocols == 'all':
            return evaluate_all(args, arguments)
        evaluate(args, arguments)
        return 0
    except Exception as error:
        expected = isinstance(error, OSError) or is_user_error(error, before_training=True)
        if os.environ.get('MIMSELFSUP_DEBUG') == '1' or not expected:
            raise
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f'error: {" ".join(str(message).split())}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
