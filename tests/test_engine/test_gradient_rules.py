"""The rules against a plain loop; parameters that are frozen to the bit; several processes."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mimselfsup.engine.hooks.gradient_rules import GradientRulesHook, clip_each
from mimselfsup.registry import HOOKS

from . import test_runner  # noqa: F401, registers StopAt

CLIP = 0.3


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(6, 5)
        self.last_layer = nn.Linear(5, 3, bias=False)

    def forward(self, images):
        return self.last_layer(torch.tanh(self.body(images)))


def batches(count: int, size: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 6, generator=generator) for _ in range(count)]


def loss_of(model, images):
    return model(images).pow(2).sum(1).mean() * 3


def train(model, wrapper, data, hook=None, per_epoch=2, kind=EpochBasedTrainLoop):
    """Steps of ``wrapper`` as a loop of MMEngine makes them, as far as the hook sees it."""
    runner = SimpleNamespace(
        model=model, optim_wrapper=wrapper, train_loop=kind.__new__(kind), train_dataloader=range(per_epoch)
    )
    if hook:
        runner.iter = runner.epoch = 0
        hook.before_train(runner)
    for iteration, images in enumerate(data):
        if hook:
            runner.iter = iteration
            runner.epoch = iteration // per_epoch if kind is EpochBasedTrainLoop else 0
            hook.before_train_iter(runner, 0)
        with wrapper.optim_context(model):
            loss = loss_of(model, images)
        wrapper.update_params(loss)
    if hook:
        hook.after_train(runner)
    return model


def adamw(model, **options):
    return torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1, **options)


def plain_run(model, data, clip=None, frozen_steps=0):
    """The rules as the papers' training loop has them."""
    optimizer = adamw(model)
    for step, images in enumerate(data):
        optimizer.zero_grad()
        loss_of(model, images).backward()
        for parameter in model.parameters():
            norm = float(parameter.grad.norm())
            if clip is not None and clip / (norm + 1e-6) < 1:
                parameter.grad.mul_(clip / (norm + 1e-6))
        if step < frozen_steps:
            model.last_layer.weight.grad = None
        optimizer.step()
    return model


def assert_same(one, other, **tolerance):
    for (name, value), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, msg=lambda text, name=name: f'{name}: {text}', **tolerance)


# ---------------------------------------------------------------------------------------------- clipping


@pytest.mark.parametrize('scale', [None, 1024.0])
def test_each_tensor_is_clipped_by_its_own_norm(scale):
    generator = torch.Generator().manual_seed(0)
    factors = (1e-3, 1.0, 50.0, 0.0)
    gradients = [torch.randn(4, 3, generator=generator).double() * factor for factor in factors]
    parameters = [nn.Parameter(torch.zeros(4, 3).double()) for _ in range(5)]
    for parameter, gradient in zip(parameters, gradients, strict=False):
        parameter.grad = gradient * (scale or 1)
    clip_each(parameters, 2.0, None if scale is None else torch.tensor(scale))
    for parameter, gradient in zip(parameters, gradients, strict=False):
        factor = min(1.0, 2.0 / (float(gradient.norm()) + 1e-6))
        torch.testing.assert_close(parameter.grad, gradient * (scale or 1) * factor)
    assert torch.equal(parameters[0].grad, gradients[0] * (scale or 1))  # not even rounded
    assert parameters[4].grad is None


@pytest.mark.parametrize('fused', [False, True])
def test_a_run_equals_a_plain_loop(fused):
    model = Network()
    hook = GradientRulesHook(clip_per_tensor=CLIP, frozen=dict(last_layer=1))
    train(model, OptimWrapper(adamw(model, fused=fused)), batches(6), hook)
    expected = plain_run(Network(), batches(6), CLIP, frozen_steps=2)
    assert_same(model, expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(AssertionError):  # the rule had something to do
        assert_same(model, plain_run(Network(), batches(6), None, frozen_steps=2), rtol=1e-3, atol=1e-5)


def test_accumulated_batches_are_clipped_once_as_a_whole():
    model = Network()
    wrapper = OptimWrapper(adamw(model), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 12)
    data = batches(12)
    train(model, wrapper, data, GradientRulesHook(clip_per_tensor=CLIP))
    joined = [torch.cat(data[start : start + 3]) for start in range(0, 12, 3)]
    assert_same(model, plain_run(Network(), joined, CLIP), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('fused', [False, True])
def test_with_a_loss_scaler_the_unscaled_gradients_are_clipped(fused):
    model, hook = Network(), GradientRulesHook(clip_per_tensor=CLIP)
    optimizer, scaler = adamw(model, fused=fused), torch.amp.GradScaler('cpu', init_scale=2.0**10)
    wrapper = OptimWrapper(optimizer)
    hook.before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    for images in batches(4):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, images)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert_same(model, plain_run(Network(), batches(4), CLIP), rtol=1e-4, atol=1e-6)


class NoReading(TorchDispatchMode):
    """Refuses what would make the host wait for a device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), function
        return function(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device():
    model = Network()
    loss_of(model, batches(1)[0]).backward()
    with NoReading():
        clip_each(model.parameters(), 1e-3)
    assert max(float(parameter.grad.norm()) for parameter in model.parameters()) <= 1e-3
    with pytest.raises(AssertionError), NoReading():
        float(torch.ones(1))


# ---------------------------------------------------------------------------------------------- freezing


@HOOKS.register_module(force=True)
class NoteHead(Hook):
    """The weights of the decoder's last layer before each iteration, and how many steps AdamW counts for them."""

    notes: list = []  # noqa: RUF012

    def before_train(self, runner) -> None:
        type(self).notes = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        head = runner.model.decoder.decoder_pred
        state = runner.optim_wrapper.optimizer.state
        steps = [int(state[each]['step']) if each in state else None for each in (head.weight, head.bias)]
        self.notes.append((head.weight.detach().clone(), head.bias.detach().clone(), steps))


def test_in_a_run_frozen_layers_are_not_touched_until_their_epoch_is_over(run):
    hooks = 'dict(type="GradientRulesHook", frozen=dict(decoder_pred=2), clip_per_tensor=0.5), dict(type="NoteHead")'
    runner = run(f'custom_hooks = [{hooks}]\noptim_wrapper["optimizer"]["weight_decay"] = 0.5\n')
    first_weight, first_bias, _ = NoteHead.notes[0]
    assert len(NoteHead.notes) == 12
    for weight, bias, steps in NoteHead.notes[:9]:  # before the first step of the third epoch of 4
        assert torch.equal(weight, first_weight) and torch.equal(bias, first_bias)
        assert steps == [None, None]
    assert not torch.equal(NoteHead.notes[9][0], first_weight) and not torch.equal(NoteHead.notes[9][1], first_bias)
    assert [note[2] for note in NoteHead.notes[9:]] == [[1, 1], [2, 2], [3, 3]]
    other = runner.model.backbone.patch_embed.projection.weight
    assert int(runner.optim_wrapper.optimizer.state[other]['step']) == 12


def test_a_resumed_run_keeps_to_the_epochs(run, work_dir, tmp_path):
    hooks = 'dict(type="GradientRulesHook", frozen=dict(decoder_pred=2)), dict(type="NoteHead")'
    saving = 'default_hooks["checkpoint"] = dict(type="CheckpointHook", interval=1, by_epoch=False)\n'
    stop = 'dict(type="StopAt", iteration=6)'
    whole = run(f'custom_hooks = [{hooks}]\n', work_dir=str(tmp_path / 'whole'))
    with pytest.raises(KeyboardInterrupt):
        run(f'{saving}custom_hooks = [{hooks}, {stop}]\n')
    resumed = run(f'{saving}custom_hooks = [{hooks}]\n', resume='auto')
    assert [steps for *_, steps in NoteHead.notes] == [[None] * 2] * 3 + [[1, 1], [2, 2], [3, 3]]
    assert_same(resumed.model, whole.model, rtol=0, atol=0)


def test_loops_of_iterations_count_passes_over_the_data():
    model = Network()
    before = copy.deepcopy(model.last_layer.weight)
    hook = GradientRulesHook(frozen=dict(last_layer=1))
    train(model, OptimWrapper(adamw(model)), batches(3), hook, per_epoch=3, kind=IterBasedTrainLoop)
    assert torch.equal(model.last_layer.weight, before)
    train(model, OptimWrapper(adamw(model)), batches(4), hook, per_epoch=3, kind=IterBasedTrainLoop)
    assert not torch.equal(model.last_layer.weight, before)


def test_after_the_training_the_optimizer_is_its_own_again():
    model = Network()
    wrapper = OptimWrapper(adamw(model))
    train(model, wrapper, batches(1), GradientRulesHook(frozen=dict(last_layer=9)))
    before = copy.deepcopy(model.last_layer.weight)
    train(model, wrapper, batches(1))
    assert not torch.equal(model.last_layer.weight, before)


# --------------------------------------------------------------------------------------------- processes


def _process(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(Network())
    parts = [images.chunk(2)[rank] for images in batches(4)]
    train(model, OptimWrapper(adamw(model)), parts, GradientRulesHook(CLIP, dict(last_layer=1)))
    torch.save(model.module.state_dict(), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_stay_equal_and_are_one_with_the_joined_batch(tmp_path):
    context = torch.multiprocessing.get_context('fork')
    processes = [context.Process(target=_process, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))
    alone = plain_run(Network(), batches(4), CLIP, frozen_steps=2).state_dict()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        torch.testing.assert_close(value, alone[name], rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(), 'no rule is given'),
        (dict(clip_per_tensor=0), 'clip_per_tensor=0, must be above 0; None does not clip'),
        (dict(frozen=dict(last_layer=0.5)), "'last_layer': 0.5"),
        (dict(frozen=dict(last_layer=-1)), "'last_layer': -1"),
    ],
)
def test_senseless_rules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientRulesHook(**arguments)


def test_a_name_that_nothing_has_is_refused():
    model = Network()
    with pytest.raises(ValueError, match="no trained parameter of Network has 'last_layr' in its name"):
        train(model, OptimWrapper(adamw(model)), [], GradientRulesHook(frozen=dict(last_layr=1)))
    model.last_layer.requires_grad_(False)  # as a teacher's, which is never trained
    with pytest.raises(ValueError, match="has 'last_layer' in its name"):
        train(model, OptimWrapper(adamw(model)), [], GradientRulesHook(frozen=dict(last_layer=1)))


def test_clipping_twice_is_refused():
    model = Network()
    wrapper = OptimWrapper(adamw(model), clip_grad=dict(max_norm=1.0))
    with pytest.raises(ValueError, match=r'clip_per_tensor=0\.3 bounds each .* optim_wrapper\.clip_grad all'):
        train(model, wrapper, [], GradientRulesHook(CLIP))
    train(model, wrapper, [], GradientRulesHook(frozen=dict(last_layer=1)))
