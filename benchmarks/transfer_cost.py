"""What a training step of the detectors and segmentors of full size needs: operations, memory, hours of a run.

    python benchmarks/transfer_cost.py                              # all configs of full size, minutes each on a CPU
    python benchmarks/transfer_cost.py CONFIG [CONFIG ...] --images 1

Forward and backward passes of the config's own batch per GPU, on noise of the largest images it trains on, with so many
objects that no sampler is left with room. On the CPU, where mixed precision is bfloat16. Printed are

    parameters   and of how many the gradients are kept
    TFLOP/image  of matrix products, convolutions and attention, forward and backward, counted by torch. A
                 multiplication and an addition are two.
    GiB          the most that was in use at a time: weights, gradients and the optimizer's state, and what the step
                 allocated beyond them. A GPU's libraries need more (CUDA itself about half a GiB).
    hours        of 8 GPUs for the config's schedule, if each does --tflops of such operations a second. Validation is
                 left out, and so is waiting for data.
"""

import argparse
import gc
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import autocast
from mmengine.structures import PixelData
from self_distillation import most_allocated, size_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mimselfsup.engine.launch import load_config
from mimselfsup.transfer.models.federated_loss import FederatedLoss

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'benchmarks'
OBJECTS = 128  # as many RoIs with an object as two-stage detectors take of an image: a quarter of 512
LARGEST = (800, 1344)  # of the images that are not cropped to a square, padded to a multiple of 32
LABEL_GRID = 100  # on which linear segmentation of VOC takes its loss
# Images an epoch, for schedules in epochs.
TRAINING_IMAGES = dict(coco=117_266, voc12aug=10_582)
GIB = 2**30


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='*', type=Path, help='default: all of detection and segmentation but toys')
    parser.add_argument('--images', type=int, help="per step, instead of the config's batch per GPU")
    parser.add_argument('--tflops', type=float, default=100.0, help='10^12 operations a second that a GPU is good for')
    args = parser.parse_args()
    args.configs = args.configs or full_size_configs()
    return args


def full_size_configs() -> list[Path]:
    files = [path for task in ('detection', 'segmentation') for path in sorted((CONFIGS / task).glob('*.py'))]
    return [path for path in files if 'toy' not in path.stem]


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    width = max(len(path.stem) for path in args.configs)
    print(f'{"":{width}}  parameters (trained)  images  TFLOP/image     GiB  of it kept     hours')
    for path in args.configs:
        torch.manual_seed(0)
        print(f'{path.stem:{width}}  {measure(load_config(path), path.stem, args)}', flush=True)
        gc.collect()


def measure(config: Config, name: str, args: argparse.Namespace) -> str:
    init_default_scope(config.default_scope)
    model = revert_sync_batchnorm(MODELS.build(config.model)).train()
    for loss in (part for part in model.modules() if isinstance(part, FederatedLoss)):
        loss.set_class_counts(torch.ones(loss.num_classes, dtype=torch.long))
    images = args.images or config.train_dataloader.batch_size
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept = size_of(model.state_dict().values()) + (1 + moments(config)) * size_of(trained)

    batch = make_batch(config, name, images)
    mixed = 'Amp' in config.optim_wrapper.type
    with FlopCounterMode(display=False) as counter, mock.patch.object(F, 'scaled_dot_product_attention', attention):
        # Gradients are allocated in the step: they are counted there, at the time at which they appear.
        step = most_allocated(lambda: forward_and_backward(model, batch, mixed))
    missing = [key for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    if missing:
        raise RuntimeError(f'{name}: no gradient reached {", ".join(missing)}')

    operations = counter.get_total_flops() / images
    hours = operations * images_of_a_run(config, name) / (8 * args.tflops * 1e12) / 3600
    total = kept - size_of(trained) + step
    count = sum(parameter.numel() for parameter in model.parameters())
    return (
        f'{count / 1e6:>8.1f} M ({sum(map(Tensor.numel, trained)) / 1e6:>6.1f} M){images:>8}{operations / 1e12:>13.2f}'
        f'{total / GIB:>8.1f}{kept / GIB:>12.1f}{hours:>10.1f}'
    )


def forward_and_backward(model: nn.Module, batch: dict, mixed: bool) -> None:
    with autocast(device_type='cpu', dtype=torch.bfloat16, enabled=mixed):
        data = model.data_preprocessor(batch, True)
        losses = model(**data, mode='loss')
    model.parse_losses(losses)[0].backward()


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    if torch.is_autocast_enabled('cpu'):
        query, key, value = (each.bfloat16() for each in (query, key, value))
    return FusedAttention.apply(query, key, value, attn_mask, scale or query.shape[-1] ** -0.5)


class FusedAttention(torch.autograd.Function):
    """What a GPU's memory-efficient kernel keeps and computes: inputs and output, and the weights a second time.

    The CPU's takes neither values narrower than queries (ViTDet's) nor a bias that learns (BEiT's); what stands in
    for it keeps the weights of all heads. Head by head, so that those in use hardly count.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        ctx.scale = scale
        heads = range(query.shape[1])
        mixed = torch.stack([weights(query, key, bias, scale, head) @ value[:, head] for head in heads], 1)
        ctx.save_for_backward(query, key, value, bias, mixed)
        return mixed

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, mixed = ctx.saved_tensors
        grads = [torch.empty_like(each) for each in (query, key, value)]
        of_bias = torch.zeros_like(bias) if ctx.needs_input_grad[3] else None
        through = (grad * mixed).sum(-1, keepdim=True)
        for head in range(query.shape[1]):
            weight = weights(query, key, bias, ctx.scale, head)
            grads[2][:, head] = weight.mT @ grad[:, head]
            logits = weight * (grad[:, head] @ value[:, head].mT - through[:, head])
            grads[0][:, head] = logits @ key[:, head] * ctx.scale
            grads[1][:, head] = logits.mT @ query[:, head] * ctx.scale
            if of_bias is not None:
                of_bias[:, head] += logits.sum_to_size(of_bias[:, head].shape)
        return *grads, of_bias, None


def weights(query: Tensor, key: Tensor, bias: Tensor | None, scale: float, head: int) -> Tensor:
    logits = query[:, head] @ key[:, head].mT * scale
    return (logits if bias is None else logits + bias[:, head]).softmax(-1).to(query.dtype)


def moments(config: Config) -> int:
    """How many tensors of its size the optimizer keeps of a parameter."""
    return {'AdamW': 2, 'SGD': 1}[config.optim_wrapper.optimizer.type]


def make_batch(config: Config, name: str, images: int) -> dict:
    """What the loader hands out, of noise."""
    if config.default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        height, width = (1024, 1024) if 'lsj' in name else LARGEST
        head = config.model.roi_head.bbox_head
        classes = (head[0] if isinstance(head, list) else head).num_classes
        return demo_mm_inputs(images, (3, height, width), [OBJECTS] * images, classes, with_mask=True)

    from mmseg.structures import SegDataSample

    height, width = config.model.data_preprocessor.size
    grid = (LABEL_GRID, LABEL_GRID) if config.model.type == 'mimselfsup.LinearSegmentor' else (height, width)
    samples = []
    for _ in range(images):
        sample = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, config.model.decode_head.num_classes, (1, *grid)))
        samples.append(dict(inputs=torch.randint(0, 256, (3, height, width), dtype=torch.uint8), data_samples=sample))
    return pseudo_collate(samples)


def images_of_a_run(config: Config, name: str) -> int:
    if 'max_iters' in config.train_cfg:
        return config.train_cfg.max_iters * config.auto_scale_lr.base_batch_size
    return config.train_cfg.max_epochs * next(count for key, count in TRAINING_IMAGES.items() if key in name)


if __name__ == '__main__':
    main()
