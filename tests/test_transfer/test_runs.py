"""mmdet's and mmseg's configs through our Runner: exact resuming, several processes, the backbone of a pre-training."""

import os

import pytest
import torch
from mmengine.hooks import Hook

from mimselfsup.models.backbones import MaskedViT
from mimselfsup.registry import HOOKS
from mimselfsup.visualization import read_scalars

from ..test_engine.tiny import read_losses
from .tiny import SIDE

SCORES = dict(detector='coco/bbox_mAP', segmentor='mIoU')


@HOOKS.register_module(force=True)
class CrashAt(Hook):
    """Ends a run as a kill would, but in this process."""

    priority = 'LOWEST'

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            raise KeyboardInterrupt


@HOOKS.register_module(force=True)
class NoteStatistics(Hook):
    """What each process is scored with."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def after_val_epoch(self, runner, metrics=None) -> None:
        state = {key: value for key, value in runner.model.state_dict().items() if 'running' in key}
        torch.save(state, f'{self.folder}/iter{runner.iter}_{os.environ["RANK"]}.pth')


def crash(project, name, iteration, **options):
    hooks = {'custom_hooks': [dict(type='mimselfsup.CrashAt', iteration=iteration)]}
    with pytest.raises(KeyboardInterrupt):
        project.train(name, cfg_options=hooks | options.pop('cfg_options', {}), **options)


def save_backbone(path, **arguments):
    """A checkpoint of self-distillation whose teacher is not its student."""
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
    state = {}
    for network in ('student', 'teacher'):
        backbone = MaskedViT(arch, img_size=SIDE // 2, patch_size=8, out_type='cls_token', **arguments)
        for name, value in backbone.state_dict().items():
            state[f'{network}.backbone.{name}'] = torch.randn_like(value) * 0.1 if value.is_floating_point() else value
    torch.save(dict(state_dict=state, meta={}), path)
    return state


def assert_same_weights(one, other):
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


@pytest.mark.parametrize('name', ['detector', 'segmentor'])
def test_a_resumed_run_is_the_run_that_was_never_stopped(project, name):
    """Four steps, a crash in the fourth, saved after the second; augmentation, order and dropout go on, whatever the
    number of workers. The detector is trained by epoch, with batches by aspect ratio, the segmentor by iteration."""
    whole = project.train(name, work_dir='whole')
    assert whole.iter == 4
    reference = read_losses(project.folder / 'whole')
    assert sorted(reference) == [1, 2, 3, 4] and len(set(reference.values())) == 4
    # Scores stand beside the losses, by iteration, in runs by epoch too.
    assert read_scalars(project.folder / 'whole')[SCORES[name]][0].tolist() == [4]
    crash(project, name, 3, cfg_options={'train_dataloader.num_workers': 1})
    assert not (project.folder / 'run' / 'iter_4.pth').exists()
    resumed = project.train(name, resume='auto')
    assert read_losses(project.folder / 'run') == reference
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())


def test_one_config_takes_any_pre_training_and_tests_what_came_of_it(project):
    """Two [CLS] tokens, layer scale, another image size and a teacher: none of which the config knows."""
    path = project.folder / 'pretrained.pth'
    state = save_backbone(path, num_cls_tokens=2, layer_scale_init_value=0.1)
    options = {'optim_wrapper.optimizer.lr': 0.0, 'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1}
    runner = project.train('segmentor', pretrained=str(path), cfg_options=options)
    backbone = runner.model.backbone
    assert backbone.num_extra_tokens == 2
    assert_same_weights(
        {key: state[f'teacher.backbone.{key}'] for key in ('cls_token', 'layers.1.attn.gamma1.weight')},
        backbone.state_dict(),
    )
    assert backbone.pos_embed.shape == (1, 2 + (SIDE // 8) ** 2, 24)
    log = next((project.folder / 'run').glob('*/*.log')).read_text()
    assert "model.backbone becomes that of the checkpoint: {'layer_scale_init_value': 0.1, 'num_cls_tokens': 2}" in log
    assert '--pretrained' in log and 'teacher.backbone -> model.backbone (MaskedViT)' in log
    before = runner.message_hub.get_scalar('val/mIoU').current()
    found = project.test('segmentor', project.folder / 'run' / 'iter_1.pth', work_dir='test')
    assert found['mIoU'] == before
    student = project.train(
        'segmentor', pretrained=str(path), pretrained_from='student', cfg_options=options, work_dir='student'
    )
    assert torch.equal(student.model.backbone.cls_token, state['student.backbone.cls_token'])


def in_two_processes(project, name, rank, meeting):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=2)
    options = {'train_dataloader.batch_size': 1, 'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=1)}
    if name == 'segmentor':
        options['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=1)
        options['custom_hooks'] = [dict(type='mimselfsup.NoteStatistics', folder=str(project.folder))]
    runner = project.train(name, launcher='pytorch', work_dir='two', cfg_options=options)
    torch.save(runner.model.module.state_dict(), project.folder / f'weights{rank}.pth')
    in_training = {SCORES[name]: float(runner.message_hub.get_scalar(f'val/{SCORES[name]}').current())}
    torch.save(in_training, project.folder / f'in_training{rank}.pth')
    scores = project.test(
        name, sorted((project.folder / 'two').glob('*.pth'))[-1], launcher='pytorch', work_dir='two_test'
    )
    torch.save({key: float(value) for key, value in scores.items()}, project.folder / f'scores{rank}.pth')


@pytest.mark.parametrize('name', ['detector', 'segmentor'])
def test_two_processes_end_with_one_set_of_weights_and_score_as_one(project, name):
    context = torch.multiprocessing.get_context('fork')
    workers = [
        context.Process(target=in_two_processes, args=(project, name, rank, project.folder / 'meet')) for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    one, other = (torch.load(project.folder / f'weights{rank}.pth') for rank in (0, 1))
    # Each process normalises by its own batch, since SyncBN needs GPUs; what is scored and saved is the mean of both.
    assert any('running_var' in key for key in one) == (name == 'segmentor')
    assert_same_weights(one, other)
    checkpoint = sorted((project.folder / 'two').glob('*.pth'))[-1]
    assert_same_weights(weights(checkpoint), one)
    scores = {key: float(value) for key, value in project.test(name, checkpoint, work_dir='one_test').items()}
    if name == 'segmentor':  # saved after the second iteration alone
        noted = [[torch.load(project.folder / f'iter{step}_{rank}.pth') for rank in (0, 1)] for step in (1, 2)]
        assert_same_weights(*noted[0])
        assert_same_weights(*noted[1])
        assert any(not torch.equal(value, noted[1][0][key]) for key, value in noted[0][0].items())
    found = torch.load(project.folder / 'scores0.pth')
    assert found == scores and max(found.values()) > 0
    assert torch.load(project.folder / 'in_training0.pth') == {SCORES[name]: scores[SCORES[name]]}
