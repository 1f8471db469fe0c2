"""Brings data sets into the layout that configs and protocols read, and writes lists of few labels.

python tools/convert_dataset.py stl10 stl10_binary data/stl10
python tools/convert_dataset.py tiny-imagenet tiny-imagenet-200 data/tiny-imagenet
python tools/convert_dataset.py subset data/imagenet meta/train_1percent.txt --list 1percent.txt
python tools/convert_dataset.py subset data/toy meta/train_10percent.txt --per-class 40
"""

import argparse
import os
import sys
from pathlib import Path

from mimselfsup.datasets.conversion import convert_stl10, convert_tiny_imagenet
from mimselfsup.engine.launch import report_user_error


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Convert a data set, or list a part of it.')
    kinds = parser.add_subparsers(dest='kind', required=True)
    for name, source in (('stl10', "the folder of STL-10's binaries"), ('tiny-imagenet', 'tiny-imagenet-200')):
        kind = kinds.add_parser(
            name, help=f'{source} -> train/<class>/, {"test" if name == "stl10" else "val"}/<class>/'
        )
        kind.add_argument('source', help=source)
        kind.add_argument('target', help='a folder for the result')
    subset = kinds.add_parser('subset', help='a list of training images with labels, for ann_file')
    subset.add_argument('root', help='the folder of train/<class>/')
    subset.add_argument('out', help='the list to write, below root; its lines are <class>/<file> <label>')
    choice = subset.add_mutually_exclusive_group(required=True)
    choice.add_argument('--list', metavar='TXT', help="<file> or <class>/<file> a line, such as SimCLR's 1percent.txt")
    choice.add_argument('--per-class', type=int, metavar='N', help='the first N images of each class, by name')
    return parser.parse_args(argv)


def write_subset(root: str, out: str, names: str | None = None, per_class: int | None = None) -> int:
    """Labels are the places of the classes among all of ``train/``. Returns the number of images listed."""
    from mimselfsup.datasets import ImageFolder
    from mimselfsup.evaluation.data import listed_images

    dataset = ImageFolder(root, split='train', with_label=True, per_class=per_class)
    chosen = range(len(dataset)) if names is None else listed_images(dataset, names)
    lines = []
    for index in chosen:
        info = dataset.get_data_info(index)
        lines.append(f'{os.path.relpath(info["img_path"], dataset.source)} {info["gt_label"]}\n')
    path = Path(root) / out
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(lines))
    return len(lines)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.kind == 'subset':
            print(
                f'{Path(args.root) / args.out}: {write_subset(args.root, args.out, args.list, args.per_class)} images'
            )
            return 0
        convert = convert_stl10 if args.kind == 'stl10' else convert_tiny_imagenet
        counts = convert(args.source, args.target)
        print(f'{args.target}: {", ".join(f"{count} {name}" for name, count in counts.items())}')
    except Exception as error:
        return report_user_error(error, before_training=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
