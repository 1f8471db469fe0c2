"""A training step of iBOT with AttMask: ours against the order of operations of the published code.

    python benchmarks/self_distillation.py                          # one CPU thread, batch 4, its CPU time
    python benchmarks/self_distillation.py --device cuda --bf16     # batch 64, timed by CUDA events
    python benchmarks/self_distillation.py --depth 1 --batch 2 --rounds 1                  # does it run?

ViT-S/16 with a shared head of 8192 prototypes, 2 x 224 + 10 x 96 pixels, AttMask High (10 to 50% of the patches of half
of the views); a step is forward, backward, optimizer and EMA, on views that are already normalised. Ours is
``SelfDistillation``, the other ``plain_ibot.py``: on the same weights, the same views and with the same masks. The
two take turns within a round, in changing order, each with an optimizer of its own; a ratio is the median over the
rounds, its 95% interval comes from resampling them.

Memory is the highest sum of all blocks that torch's allocator has handed out. On a GPU that is
``max_memory_allocated`` of a whole step, less the state of the other's optimizer. On a CPU it is the weights, the
state of one optimizer and the views, by their size, and what is allocated during forward and backward pass, from the
allocator's own record (torch.profiler). A batch that a CPU can do is small, and then weights and state, which are the
same for both, are much of it; so what is beyond them is given too, and the sum with that part enlarged to batch 64.

Exit status 1 if on a GPU an interval lies on the wrong side of its bound as a whole: 1.5 times the speed, 0.7 of the
memory.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import plain_ibot
import torch
from amt_cost import Clock, keep_memory, spread
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mimselfsup.registry import MODELS

SPEED, MEMORY = 1.5, 0.7
PUBLISHED_BATCH = 64  # per GPU
ADAMW = dict(lr=1e-5, weight_decay=0.04)  # a small rate: noise for images must not blow up the weights
MIB = 2**20


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--bf16', action='store_true', help='autocast; default: float32')
    parser.add_argument('--batch', type=int, help='images; default: 4, or 64 on a GPU')
    parser.add_argument('--rounds', type=int, help='of one step each; default: 5, or 30 on a GPU')
    parser.add_argument('--memory-rounds', type=int, default=3)
    parser.add_argument('--local-views', type=int, default=10)
    parser.add_argument('--depth', type=int, default=12, help='blocks of the ViT')
    args = parser.parse_args()
    on_gpu = args.device.startswith('cuda')
    args.batch = args.batch or (64 if on_gpu else 4)
    args.rounds = args.rounds or (30 if on_gpu else 5)
    return args


def main() -> int:
    args = parse_args()
    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')
    keep_memory()
    torch.manual_seed(0)
    model = build(ibot(args.depth), args.device)
    steps = Ours(model, args), Plain(model, args)
    seconds = [[], []]
    for number in range(-1, args.rounds):  # one to warm up
        views = make_views(args)
        for turn in np.roll([0, 1], number):
            torch.manual_seed(number + 1)  # and so both draw the same masks
            seconds[turn].append(steps[turn](views))
    totals = np.array([[sum(parts.values()) for parts in each[1:]] for each in seconds])

    where = torch.cuda.get_device_name() if args.device.startswith('cuda') else 'CPU time of one thread'
    precision = 'bfloat16' if args.bf16 else 'float32'
    print(
        f'iBOT + AttMask, ViT-S/16 ({args.depth} blocks), 2 x 224 + {args.local_views} x 96, K = 8192, batch '
        f'{args.batch}, {precision}, {where}, {args.rounds} rounds'
    )
    print(f'{"":44}{"ours":>10}{"plain":>10}   ratio (95%)')
    rates = args.batch / np.median(totals, axis=1)
    faster = Ratio(totals[1] / totals[0])
    print(f'{"images per second":44}{rates[0]:>10.2f}{rates[1]:>10.2f}   {faster}, bound on a GPU {SPEED}')
    less = print_memory(steps, args)
    print_parts(seconds[0][1:])
    return int(args.device.startswith('cuda') and (faster.high < SPEED or less.low > MEMORY))


def ibot(depth: int = 12) -> dict:
    """The published setting of AttMask's runs on iBOT."""
    shared = dict(student_temp=0.1, center_momentum=0.9)
    return dict(
        type='SelfDistillation',
        backbone=vit(depth, 'replace'),
        projector=dict(type='Projector', num_prototypes=8192, norm_last_layer=False),
        loss=dict(type='CrossViewLoss', teacher_temp=0.04, **shared),
        patch_loss=dict(type='MaskedPatchLoss', teacher_temp=0.04, **shared),
        masking=dict(type='AttMask', mode='high', mask_ratio=(0.1, 0.5), mask_prob=0.5),
        saliency=dict(type='EncoderAttention'),
    )


def vit(depth: int, hidden: str) -> dict:
    arch = dict(embed_dims=384, num_layers=depth, num_heads=6, feedforward_channels=1536)
    return dict(
        type='MaskedViT',
        arch=arch,
        patch_size=16,
        img_size=224,
        hidden=hidden,
        drop_path_rate=0.1,
    )


def build(config: dict, device: str) -> nn.Module:
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        model = MODELS.build(config)
        model.init_weights()
    return model.to(device).train()


def make_views(args: argparse.Namespace) -> list[Tensor]:
    """Normalised noise, in two tensors cut into views, as MultiCropPreprocessor hands them out."""
    sizes = ((2, 224), (args.local_views, 96))
    noise = [torch.randn(count * args.batch, 3, side, side, device=args.device) for count, side in sizes if count]
    return [view for images in noise for view in images.split(args.batch)]


class Ours:
    """A step of SelfDistillation; seconds by part."""

    def __init__(self, model: nn.Module, args: argparse.Namespace) -> None:
        self.model, self.bf16, self.device = model, args.bf16, args.device.split(':')[0]
        self.clock = Clock(args.device)
        faster = dict(fused=True) if self.clock.cuda else dict(foreach=True)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, **ADAMW, **faster)
        self._marks: list[tuple] = []
        self._time_parts()

    def _time_parts(self) -> None:
        student, teacher = self.model.student, self.model.teacher
        self._time(teacher.backbone, 'encode', lambda images, *_: 'teacher, backbone')
        self._time(self.model, 'draw_mask', lambda *_: 'mask')
        self._time(student.backbone, 'encode', lambda images, *_: f'student, backbone, {images.shape[-1]} px')
        for network, name in ((student, 'student'), (teacher, 'teacher')):
            for method in ('forward', 'logits', 'patch_logits', 'summed_patch_logits'):
                self._time(network.projector, method, lambda *_, name=name: f'{name}, head')
        for loss in filter(None, (self.model.loss_function, self.model.patch_loss_function)):
            self._time(loss, 'forward', lambda *_: 'losses')
            self._time(loss, 'targets', lambda *_: 'targets and centres')
            self._time(loss, 'update_center', lambda *_: 'targets and centres')
        if self.model.restoration is not None:
            self._time(self.model.restoration, 'forward', lambda *_: 'restoration')

    def _time(self, owner: object, method: str, label: Callable[..., str]) -> None:
        inner = getattr(owner, method)

        def timed(*args, **kwargs):
            start = self.clock.mark()
            result = inner(*args, **kwargs)
            self._marks.append((label(*args), start, self.clock.mark()))
            return result

        setattr(owner, method, timed)

    def __call__(self, views: list[Tensor]) -> dict[str, float]:
        self._marks = []
        self.clock.wait()
        start = self.clock.mark()
        loss = self._loss(views)
        forward = self.clock.mark()
        loss.backward()
        backward = self.clock.mark()
        self.optimizer.step()
        self.optimizer.zero_grad()
        stepped = self.clock.mark()
        self.model.after_optimizer_step()
        end = self.clock.mark()
        self.clock.wait()
        parts: dict[str, float] = {}
        for label, begin, finish in self._marks:
            parts[label] = parts.get(label, 0) + self.clock.between(begin, finish)
        parts['rest of the forward pass'] = self.clock.between(start, forward) - sum(parts.values())
        parts['backward'] = self.clock.between(forward, backward)
        parts['optimizer'] = self.clock.between(backward, stepped)
        parts['average'] = self.clock.between(stepped, end)
        return parts

    def backward(self, views: list[Tensor]) -> None:
        self._loss(views).backward()

    def _loss(self, views: list[Tensor]) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            losses = self.model.loss(views)
        return sum(value for name, value in losses.items() if 'loss' in name)


class Plain:
    """The same of ``plain_ibot``, as one part."""

    def __init__(self, model: nn.Module, args: argparse.Namespace) -> None:
        self.model, self.bf16, self.device = model, args.bf16, args.device.split(':')[0]
        self.clock = Clock(args.device)
        self.optimizer = plain_ibot.optimizer(model, **ADAMW)

    def __call__(self, views: list[Tensor]) -> dict[str, float]:
        self.clock.wait()
        start = self.clock.mark()
        self.backward(views)
        self.optimizer.step()
        self.optimizer.zero_grad()
        plain_ibot.update_teacher(self.model)
        end = self.clock.mark()
        self.clock.wait()
        return dict(step=self.clock.between(start, end))

    def backward(self, views: list[Tensor]) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            losses = plain_ibot.losses(self.model, views, self._mask)
        sum(losses.values()).backward()

    def _mask(self, saliency: Tensor) -> Tensor:
        return self.model.masking((14, 14), len(saliency), saliency).masked


class Ratio:
    """Of two things in the same rounds."""

    def __init__(self, rounds: np.ndarray) -> None:
        self.value, (self.low, self.high) = float(np.median(rounds)), spread(rounds)

    def __str__(self) -> str:
        return f'{self.value:.3f} ({self.low:.3f} to {self.high:.3f})'


def print_memory(steps: 'tuple[Ours, Plain]', args: argparse.Namespace) -> Ratio:
    """Prints the lines on memory; returns ours as a share of the plain one's."""
    held = (
        size_of(steps[0].model.state_dict().values())
        + size_of(state_of(steps[0].optimizer))
        + size_of(make_views(args))
    )
    totals = [[], []]
    for number in range(args.memory_rounds):
        views = make_views(args)
        for turn, step in enumerate(steps):
            torch.manual_seed(number)
            if step.clock.cuda:
                other = size_of(state_of(steps[1 - turn].optimizer))
                torch.cuda.reset_peak_memory_stats()
                step(views)
                totals[turn].append(torch.cuda.max_memory_allocated() - other)
            else:
                totals[turn].append(held + most_allocated(lambda step=step, views=views: step.backward(views)))
                step.optimizer.zero_grad()
    memory = np.array(totals, dtype=float)
    beyond = memory - held
    lines = {'memory': memory, 'memory beyond weights, state and views': beyond}
    if args.batch != PUBLISHED_BATCH:
        lines[f'memory, enlarged to batch {PUBLISHED_BATCH}'] = held + beyond * PUBLISHED_BATCH / args.batch
    for name, values in lines.items():
        bound = '' if 'beyond' in name else f', bound on a GPU {MEMORY}'
        ours, plain = np.median(values, axis=1) / MIB
        print(f'{name + ", MiB":44}{ours:>10.0f}{plain:>10.0f}   {Ratio(values[0] / values[1])}{bound}')
    return Ratio(memory[0] / memory[1])


def size_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def state_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def most_allocated(function: Callable[[], None]) -> int:
    """The most bytes that the CPU's allocator had out for what ``function`` asked for, and not freed again yet."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    with tempfile.NamedTemporaryFile(suffix='.json') as file:
        profiler.export_chrome_trace(file.name)
        events = json.loads(Path(file.name).read_bytes())['traceEvents']
    changes = sorted((event['ts'], event['args']['Bytes']) for event in events if event['name'] == '[memory]')
    return int(np.cumsum([size for _, size in changes]).max())


def print_parts(rounds: list[dict[str, float]]) -> None:
    """Where our time goes."""
    medians = {part: float(np.median([parts[part] for parts in rounds])) for part in rounds[0]}
    total = sum(medians.values())
    print('ours, by part')
    for part, seconds in medians.items():
        print(f'    {part:30}{1000 * seconds:>10.1f} ms {100 * seconds / total:>5.1f}%')


if __name__ == '__main__':
    raise SystemExit(main())
