"""What a training step of SemanticMIM costs, as a share of its host's and of MAE's, with the same ViT-B at 224 px.

    python benchmarks/semanticmim_cost.py                       # on MaskFeat: one CPU thread, batch 4, its CPU time
    python benchmarks/semanticmim_cost.py --host beit --device cuda --bf16 --batch 128 --rounds 50
    python benchmarks/semanticmim_cost.py --proxies 32

The models are those of the shipped configs, with weights as initialised (BEiT's tokenizer with random ones too, which
take as long), and a step is mask, forward, target, backward, clipping and optimizer, on images that are already
normalised. All three take turns within a round, in changing order; a ratio is the median over the rounds, its 95%
interval comes from resampling them. The optimizer, which has twice the host's parameters to move, takes the same time
for a batch of 4 as for one of 256, so the ratios are given without it as well. Operations are those of matrix products
and convolutions, counted by torch over the same step.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from amt_cost import Clock, build_optimizer, count_operations, keep_memory, spread
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mimselfsup.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
MAE = 'mae/mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'
SETTING = 'vit-base-p16_8xb256-amp-coslr-300e_in1k'
HOSTS = {
    host: [f'semanticmim/semanticmim_{host}_{SETTING}.py', f'semanticmim/{host}-random_{SETTING}.py']
    for host in ('maskfeat', 'beit')
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--host', choices=HOSTS, default='maskfeat')
    parser.add_argument('--proxies', type=int, default=8)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=8, help='of one step of every model')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--bf16', action='store_true', help='autocast, as the configs train; default: float32')
    return parser.parse_args()


class Trained:
    """A config's model and optimizer."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        config = Config.fromfile(CONFIGS / name)
        if config.model.backbone.hidden == 'compress':
            config.model.backbone.num_cls_tokens = args.proxies
        if 'checkpoint' in config.model.target:
            config.model.target.update(checkpoint=None, allow_random=True)
        self.model = MODELS.build(config.model)
        self.model.init_weights()
        self.model.to(args.device).train()
        self.optimizer = build_optimizer(config, self.model, args.bf16)
        self.reads_pairs = 'TokenTarget' in config.model.target.type
        self.clock = Clock(args.device)

    def step(self, images: torch.Tensor) -> tuple[float, float]:
        """Seconds of one training step, and of it without the optimizer."""
        inputs = [images, images[..., ::2, ::2]] if self.reads_pairs else images
        self.clock.wait()
        start = self.clock.mark()
        with self.optimizer.optim_context(self.model):
            loss, _ = self.model.parse_losses(self.model.loss(inputs))
        self.optimizer.backward(loss)
        backward = self.clock.mark()
        self.optimizer.step()
        self.optimizer.zero_grad()
        end = self.clock.mark()
        self.clock.wait()
        return self.clock.between(start, end), self.clock.between(start, backward)


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')
    keep_memory()
    torch.manual_seed(0)
    names = dict(zip(('SemanticMIM', args.host, 'MAE'), [*HOSTS[args.host], MAE], strict=True))
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        models = {label: Trained(name, args) for label, name in names.items()}

    def images(count: int) -> torch.Tensor:
        return torch.randn(count, 3, 224, 224, device=args.device)

    operations = {label: count_operations(lambda each=each: each.step(images(2))) / 2 for label, each in models.items()}
    seconds = {label: [] for label in models}
    for number in range(-1, args.rounds):  # one to warm up
        batch = images(args.batch)
        for label in np.roll(list(models), number):
            seconds[label].append(models[label].step(batch))
    times = {label: np.array(each[1:]) for label, each in seconds.items()}

    where = torch.cuda.get_device_name() if args.device.startswith('cuda') else 'CPU time of one thread'
    precision = 'bfloat16' if args.bf16 else 'float32'
    print(f'ViT-B, 224 px, {args.proxies} proxies, batch {args.batch}, {precision}, {where}, {args.rounds} rounds')
    print(f'{"per image":24}{"step, ms":>26}{"without optimizer, ms":>26}{"10^9 operations":>18}{"parameters":>14}')
    for label, each in models.items():
        size = sum(parameter.numel() for parameter in each.model.parameters()) / 1e6
        step, alone = 1000 * np.median(times[label], axis=0) / args.batch
        print(f'{label:24}{step:>26.1f}{alone:>26.1f}{operations[label] / 1e9:>18.1f}{size:>12.1f} M')
    print('ratio (95%)')
    for label, base in (('SemanticMIM', args.host), ('SemanticMIM', 'MAE'), (args.host, 'MAE')):
        print(f'{label + " / " + base:24}', end='')
        for ratios in (times[label] / times[base]).T:
            low, high = spread(ratios)
            print(f'{f"{np.median(ratios):.3f} ({low:.3f} to {high:.3f})":>26}', end='')
        print(f'{operations[label] / operations[base]:>18.3f}')


if __name__ == '__main__':
    main()
