"""A step of self-distillation on a device that cannot be asked: it must not wait, wherever there is no need to."""

import copy

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mimselfsup.models.losses.distillation import cross_entropy
from mimselfsup.models.saliency import AttentionBank
from mimselfsup.registry import MODELS
from mimselfsup.structures.host_to_device import to_device

from ..test_backbones.test_masked_swin import SWIN
from .test_matrix import fill, samples
from .test_self_distillation import DINO, IBOT, VIT, views

COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class HostWaitsError(Exception):
    pass


class SealedDevice(TorchDispatchMode):
    """CUDA tensors without values, beside tensors of the host that have theirs.

    Whatever the host would have to wait for raises: to read a value, to learn how many of something there are, to
    copy from the device, and to copy to it other than from pinned memory without blocking.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.open = False
        self.pinned: list[Tensor] = []

    def __enter__(self):
        self.fake.__enter__()  # first: a lazy start of CUDA is left out where it is there
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def load(self, model: torch.nn.Module) -> torch.nn.Module:
        self.open = True
        model = model.to('cuda')
        self.open = False
        return model

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten.is_pinned.default:
            return any(args[0] is each for each in self.pinned)
        if func is torch.ops.aten._pin_memory.default:
            with unset_fake_temporarily():
                self.pinned.append(args[0].clone())
            return self.pinned[-1]
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        on_device = [isinstance(each, FakeTensor) for each in tensors]
        target = kwargs.get('device')
        to_device = target is not None and torch.device(target).type == 'cuda'
        if not any(on_device) and not to_device:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if not self.open:
            self._check(
                func, tensors, on_device, target, kwargs.get('non_blocking') or any(each is True for each in args[2:])
            )
        return func(*args, **kwargs)

    def _check(self, func, tensors, on_device, target, non_blocking) -> None:
        if func in COPIES:
            source, into = tensors[-1], tensors[0].device if len(tensors) > 1 else torch.device(target or 'cuda')
            if isinstance(source, FakeTensor) != (into.type == 'cuda'):
                pinned = any(source is each for each in self.pinned)
                if isinstance(source, FakeTensor) or not (pinned and non_blocking):
                    raise HostWaitsError(f'{func} of {tuple(source.shape)} between host and device')
        elif any(each.ndim and not fake for each, fake in zip(tensors, on_device, strict=True)):
            raise HostWaitsError(f'{func} with tensors of both host and device')


@pytest.fixture
def device():
    with SealedDevice() as device:
        yield device


ENCODER = dict(saliency=dict(type='EncoderAttention'))
DRAWN = dict(mask_ratio=(0.1, 0.5), mask_prob=0.5)
SWIN_CELLS = 2  # patches per side of a token of SWIN's last stage
STEPS = {
    'dino': DINO,
    'dino, attmask high': DINO | dict(backbone=VIT, masking=dict(type='AttMask', **DRAWN)) | ENCODER,
    'dino, tokens dropped': DINO | dict(masking=dict(type='AttMask', mask_ratio=(0.1, 0.5))) | ENCODER,
    'ibot, random': IBOT,
    'ibot, block': IBOT | dict(masking=dict(type='BlockMasking', min_block=2, max_proposals=4, **DRAWN)),
    'ibot, attmask high': IBOT | dict(masking=dict(type='AttMask', **DRAWN)) | ENCODER,
    'ibot, attmask hint': IBOT | dict(masking=dict(type='AttMask', mode='hint', show_max=0.1, **DRAWN)) | ENCODER,
    'ibot, attmask low, separate heads, centre of the masked': IBOT
    | dict(
        projector=IBOT['projector'] | dict(patch_prototypes=12),
        masking=dict(type='AttMask', mode='low', **DRAWN),
        patch_loss=dict(type='MaskedPatchLoss', center_over='masked'),
    )
    | ENCODER,
    'ibot, amt': IBOT | dict(masking=dict(type='AttentionDrivenMasking', mask_ratio=0.4, throw_ratio=0.3)) | ENCODER,
    'ibot, swin': IBOT
    | dict(backbone=dict(type='MaskedSwin', **SWIN), masking=dict(type='AttMask', unit=SWIN_CELLS, **DRAWN))
    | ENCODER,
    'mst': DINO
    | dict(
        backbone=VIT,
        projector=DINO['projector'] | dict(norm='BN'),
        masking=dict(type='AttentionGuidedMasking', num=2, p=0.5),
        restoration=dict(type='ConvDecoder', channels=8, norm='BN'),
    )
    | ENCODER,
}


@pytest.mark.parametrize('name', STEPS)
def test_a_step_does_not_wait_for_the_device(name, device):
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(STEPS[name]))
    model.init_weights()
    device.load(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    losses = model.loss([torch.empty(view.shape, device='cuda') for view in views(local=2, batch=3)])
    for parameter in trained:  # autograd's engine asks for the driver, so there is no backward pass
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    model.after_optimizer_step()
    assert all(value.device.type == 'cuda' for value in losses.values())
    assert ('loss_patch' in losses) == name.startswith('ibot')


@pytest.mark.parametrize('map_crop', ['exact', 'corner'])
def test_maps_of_a_bank_reach_the_device_without_a_wait(map_crop, device, tmp_path):
    bank = AttentionBank(image_size=32, map_crop=map_crop)
    fill(bank, tmp_path, 3)
    grid, batch = (4, 4), torch.empty(3, 3, 32, 32, device='cuda')
    found = bank(batch, samples(3), grid)
    assert found.device.type == 'cuda' and found.shape == (3, 16)


def test_the_gradient_of_the_losses_does_not_wait_for_the_device(device):
    logits = torch.empty(40, 24, device='cuda', requires_grad=True)
    losses = cross_entropy(torch.empty(40, 24, device='cuda'), logits, 2.0, 0.1)
    _, gradient, *_ = losses.grad_fn.apply(torch.empty(40, device='cuda'))
    assert gradient.shape == logits.shape and gradient.device.type == 'cuda'


@pytest.mark.parametrize(
    'wait',
    [
        lambda values: values.sum().item(),
        lambda values: values.tolist(),
        lambda values: (values > 0).nonzero(),
        lambda values: values[values > 0],
        lambda values: values.cpu(),
        lambda values: torch.zeros(4).to('cuda'),
        lambda values: torch.zeros(4).to('cuda', non_blocking=True),
        lambda values: torch.zeros(4).pin_memory().to('cuda'),
        lambda values: torch.tensor([1.0, 2.0], device='cuda'),
        lambda values: values.copy_(torch.zeros(4)),
        lambda values: values[torch.zeros(4, dtype=torch.int64)],
        lambda values: 1 if values.any() else 0,
    ],
)
def test_a_wait_would_be_noticed(wait, device):
    with pytest.raises((HostWaitsError, DataDependentOutputException, DynamicOutputShapeException)):
        wait(torch.empty(4, device='cuda'))


def test_what_waits_for_nothing_passes(device):
    assert torch.tensor([1, 2]).sum().item() == 3  # of the host
    there = to_device(torch.ones(4), torch.device('cuda'))
    there += torch.ones(()) + torch.full((4,), 2, device='cuda')
    assert there.device.type == 'cuda'
