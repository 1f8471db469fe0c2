"""Runs the training that a config describes: pre-training, probing, fine-tuning, mmdet's and mmseg's.

python tools/train.py CONFIG --data DIR
tools/dist_train.sh CONFIG PROCESSES --data DIR
"""

import argparse
import os
import sys

from mmengine.config import DictAction

from mimselfsup.engine import Runner
from mimselfsup.engine.launch import load_config, prepare_config, report_user_error


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train what a config describes.')
    parser.add_argument('config', help='a config file')
    parser.add_argument('--data', metavar='DIR', help='folder of the data (pre-training: of images, any depth)')
    parser.add_argument('--pretrained', metavar='CKPT', help='fill the backbone with the weights in this file')
    parser.add_argument(
        '--pretrained-from',
        choices=('teacher', 'student'),
        help='which network of a checkpoint of self-distillation (teacher)',
    )
    parser.add_argument('--work-dir', metavar='DIR', help='default: ./work_dirs/<name of the config>')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='continue from this file; without a file, from the newest complete one of the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16 where the device has it')
    parser.add_argument('--accumulate', type=int, metavar='N', help='sum the gradients of N batches per step')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the files of --pretrained and --resume without restriction; they can run any code',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='K=V', help='override: a.b.c=value')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS)  # older launchers
    args = parser.parse_args(argv)
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> int:
    args = parse_args()
    building = True
    try:
        cfg = prepare_config(load_config(args.config, args.cfg_options), args)
        runner = Runner.from_cfg(cfg)
        building = False
        runner.train()
    except Exception as error:
        return report_user_error(error, building)
    return 0


if __name__ == '__main__':
    sys.exit(main())
