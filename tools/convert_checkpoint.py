"""Reads a checkpoint of DINO, iBOT, AttMask, MAE, SimMIM, BEiT, MaskFeat, SemanticMIM, MoCo v3, timm, transformers,
torchvision, mmpretrain or this project, told apart by its names, and writes it for this project or for a library.

    python tools/convert_checkpoint.py dino_vitbase16_pretrain_full.pth dino_vitb16.pth
    python tools/convert_checkpoint.py work_dirs/my_run/epoch_300.pth my_run.safetensors --to timm
    python tools/convert_checkpoint.py work_dirs/my_run/epoch_300.pth my_run/ --to huggingface

OUT is .pth or .safetensors, for transformers a folder. Prints what was recognised, converted, resized and left out, and
why; what is not recognised is refused.
"""

import argparse
import os
import sys

from mimselfsup.engine.checkpoint import trust_checkpoint
from mimselfsup.engine.launch import is_user_error
from mimselfsup.interchange import FAMILIES, TARGETS, convert, save
from mimselfsup.interchange.draft import NETWORKS


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', metavar='IN', help="file, or a folder of transformers'")
    parser.add_argument('out', metavar='OUT')
    parser.add_argument('--to', choices=TARGETS, default='mimselfsup')
    parser.add_argument('--from', dest='source', choices=('auto', *FAMILIES), default='auto')
    parser.add_argument('--part', choices=NETWORKS, help='where there are both; default: what the paper evaluates')
    parser.add_argument('--num-heads', type=int, metavar='N', help='where neither file nor shapes say it')
    parser.add_argument(
        '--img-size', type=int, nargs='+', metavar='PX', help='side, or height and width, to resize positions for'
    )
    parser.add_argument(
        '--allow-unknown', nargs='+', default=(), metavar='NAME', help='beginnings of unknown names to leave out'
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the checkpoint without restriction, which can run any code in it',
    )
    args = parser.parse_args(arguments)
    if args.img_size and len(args.img_size) > 2:
        parser.error('--img-size: give a side, or height and width')
    return args


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    try:
        if args.trust_checkpoint:
            trust_checkpoint(args.checkpoint)
        size = args.img_size
        found = convert(
            args.checkpoint,
            args.source,
            args.part,
            num_heads=args.num_heads,
            img_size=None if size is None else size[0] if len(size) == 1 else tuple(size),
            allow_unknown=args.allow_unknown,
        )
        print(found)
        print(save(found, args.out, args.to))
    except Exception as error:
        expected = isinstance(error, OSError) or is_user_error(error, before_training=True)
        if os.environ.get('MIMSELFSUP_DEBUG') == '1' or not expected:
            raise
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    print(f'file: {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
