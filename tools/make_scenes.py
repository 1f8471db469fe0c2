"""Composes the toy world: labelled scenes as an image folder, with COCO masks and semantic label maps.

python tools/make_scenes.py data/scenes
python tools/make_scenes.py data/photos --cutouts DIR --backgrounds DIR --size 224 --objects 1 3
"""

import argparse
import sys
from pathlib import Path

try:
    from mimselfsup.datasets.scenes import DEFAULT_LAYOUTS, LAYOUTS, SETS, write_scenes
except ModuleNotFoundError as error:  # not installed: run from a clone
    if error.name != 'mimselfsup':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from mimselfsup.datasets.scenes import DEFAULT_LAYOUTS, LAYOUTS, SETS, write_scenes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', help='folder to write: {train,val}/<class>/, annotations/, masks/, classes.txt')
    parser.add_argument('--num-train', type=int, default=2000, metavar='N', help='training scenes (2000)')
    parser.add_argument('--num-val', type=int, default=500, metavar='N', help='validation scenes (500)')
    parser.add_argument('--size', type=int, default=128, metavar='PIXELS', help='side of a scene (128)')
    parser.add_argument(
        '--classes', type=int, metavar='N', help='drawn classes (10), or the N largest folders of --cutouts (all)'
    )
    parser.add_argument('--seed', type=int, default=0, help='equal seeds give equal files (0)')
    parser.add_argument('--cutouts', metavar='DIR', help='RGBA pictures, one folder per class, as objects')
    parser.add_argument('--backgrounds', metavar='DIR', help='pictures to paste the objects on')
    parser.add_argument(
        '--objects',
        type=int,
        nargs=2,
        default=(1, 1),
        metavar=('MIN', 'MAX'),
        help='objects per scene; the first is the largest and gives the class of the scene (1 1)',
    )
    parser.add_argument('--workers', type=int, metavar='N', help='processes (all cores)')
    parser.add_argument('--format', choices=('jpg', 'png'), default='jpg', help='of the pictures (jpg)')
    parser.add_argument(
        '--layouts',
        nargs='+',
        choices=(*LAYOUTS, *SETS, 'all'),
        default=DEFAULT_LAYOUTS,
        help=f'what to write; the image folder always is ({" ".join(DEFAULT_LAYOUTS)})',
    )
    parser.add_argument('--quiet', action='store_true', help='print nothing')
    parser.add_argument('--force', action='store_true', help='replace a world in OUT, or write beside files of others')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        write_scenes(
            args.out,
            num_train=args.num_train,
            num_val=args.num_val,
            size=args.size,
            classes=args.classes,
            seed=args.seed,
            cutouts=args.cutouts,
            backgrounds=args.backgrounds,
            num_objects=tuple(args.objects),
            workers=args.workers,
            image_format=args.format,
            layouts=(*LAYOUTS, *SETS) if 'all' in args.layouts else args.layouts,
            quiet=args.quiet,
            force=args.force,
        )
    except (ValueError, FileExistsError) as error:
        sys.exit(f'make_scenes.py: {error}')


if __name__ == '__main__':
    main()
