"""Runs the test loop of a config on a checkpoint: classifiers, mmdet's detectors, mmseg's segmentors.

python tools/test.py CONFIG CKPT --data DIR
"""

import argparse
import os
import sys

from mmengine.config import DictAction

from mimselfsup.engine import Runner
from mimselfsup.engine.checkpoint import trust_checkpoint
from mimselfsup.engine.launch import load_config, prepare_config, report_user_error


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint as a config describes.')
    parser.add_argument('config', help='a config file with a test_dataloader')
    parser.add_argument('checkpoint', help='a checkpoint of the whole model')
    parser.add_argument('--data', metavar='DIR', help='folder of the data')
    parser.add_argument('--work-dir', metavar='DIR', help='default: ./work_dirs/<name of the config>')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='unpickle it without restriction; it can run any code'
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
        cfg = load_config(args.config, args.cfg_options)
        if cfg.get('test_dataloader') is None:
            raise ValueError(
                f'{args.config} has no test_dataloader. A pre-training config has nothing to test: '
                f'tools/evaluate.py scores its features'
            )
        if args.trust_checkpoint:
            trust_checkpoint(args.checkpoint)
        # A test builds no training data and no optimizer.
        for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
            cfg[key] = None
        cfg.resume, cfg.load_from = False, args.checkpoint
        runner = Runner.from_cfg(prepare_config(cfg, args, training=False))
        runner.strict_load = True
        building = False
        runner.test()
    except Exception as error:
        return report_user_error(error, building)
    return 0


if __name__ == '__main__':
    sys.exit(main())
