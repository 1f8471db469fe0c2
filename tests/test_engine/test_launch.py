"""What the command line and the checks make of a config."""

from importlib import import_module

import pytest
import torch
from mmengine.config import Config

from mimselfsup.engine import launch
from mimselfsup.engine.launch import is_user_error, load_config, set_data_root, set_precision
from mimselfsup.engine.validation import check_config


def test_defaults(prepared, images):
    cfg = prepared(work_dir=None)
    assert cfg.work_dir == './work_dirs/tiny'
    assert cfg.randomness == dict(seed=0, diff_rank_seed=True)
    assert cfg.train_dataloader.dataset.data_root == str(images)
    assert not cfg.get('resume')


def test_a_seed_of_the_config_stays(prepared):
    assert prepared('randomness = dict(seed=7)').randomness == dict(seed=7, diff_rank_seed=True)


def test_loaders_without_workers_are_made_valid(prepared):
    loader = prepared('train_dataloader.update(num_workers=0, persistent_workers=True, prefetch_factor=4)')
    assert loader.train_dataloader.persistent_workers is False
    assert 'prefetch_factor' not in loader.train_dataloader


# ----------------------------------------------------------------------------------- learning rate, steps

SCALED = 'auto_scale_lr = dict(base_batch_size=4)\nparam_scheduler[-1]["eta_min"] = 1e-5\n'


@pytest.mark.parametrize(('batch', 'accumulate', 'ratio'), [(4, None, 1), (2, None, 0.5), (2, 4, 2), (8, 2, 4)])
def test_the_rate_follows_the_images_per_step(prepared, batch, accumulate, ratio):
    cfg = prepared(SCALED, {'train_dataloader.batch_size': batch}, accumulate=accumulate)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.05 * 4 / 256 * ratio)
    assert cfg.param_scheduler[-1].eta_min == pytest.approx(1e-5 * ratio)
    assert cfg.auto_scale_lr.enable is False  # MMEngine would scale once more


def test_only_the_rates_schedule_follows(prepared):
    others = [
        dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=0.4, T_max=3),
        dict(type='CosineAnnealingMomentum', eta_min=0.9, T_max=3),
        dict(type='CosineAnnealingParamScheduler', param_name='lr', eta_min=1e-6, T_max=3),
    ]
    cfg = prepared(f'{SCALED}param_scheduler += {others}\n', {'train_dataloader.batch_size': 8})
    assert [each.eta_min for each in cfg.param_scheduler[-3:]] == [0.4, 0.9, 2e-6]


def test_the_rate_counts_all_processes(prepared, monkeypatch):
    monkeypatch.setattr(launch, 'get_world_size', lambda: 8)
    assert prepared(SCALED).optim_wrapper.optimizer.lr == pytest.approx(0.05 * 4 / 256 * 8)


def test_the_rate_can_be_left_alone(prepared):
    cfg = prepared('auto_scale_lr = dict(base_batch_size=64, enable=False)')
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.05 * 4 / 256)


def test_accumulation_needs_whole_steps_per_epoch(prepared):
    cfg = prepared(accumulate=3)
    assert cfg.optim_wrapper.accumulative_counts == 3
    assert cfg.train_dataloader.sampler.batches_of == 12
    cfg = prepared('train_dataloader["sampler"] = dict(type="DefaultSampler", shuffle=True)', accumulate=2)
    assert cfg.train_dataloader.sampler == dict(type='mimselfsup.EpochSampler', shuffle=True, batches_of=8)


def test_accumulation_says_how_many_steps_are_left_of_a_run_by_iteration(prepared, capsys):
    by_iteration = 'train_cfg = dict(by_epoch=False, max_iters=100)\n'
    for count in (1, 4):
        prepared(by_iteration, accumulate=count)
        said = ''.join(capsys.readouterr())
        assert ('max_iters=100 counts batches, 25 optimizer steps of 4' in said) == (count == 4)


# --------------------------------------------------------------------------------------------- precision


def test_amp_is_bfloat16_where_there_is_bfloat16(prepared, monkeypatch):
    assert prepared(amp=True).optim_wrapper.type == 'mimselfsup.AutocastOptimWrapper'
    monkeypatch.setattr(launch, 'device_has_bfloat16', lambda: False)
    wrapper = prepared(amp=True).optim_wrapper
    assert (wrapper.type, wrapper.dtype, wrapper.loss_scale) == ('AmpOptimWrapper', 'float16', 'dynamic')


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without GPU')
def test_a_config_for_gpus_runs_on_cpus(prepared):
    cfg = prepared('optim_wrapper.update(type="AmpOptimWrapper", loss_scale=512.0, dtype="float16")')
    assert cfg.optim_wrapper.type == 'mimselfsup.AutocastOptimWrapper'
    assert 'loss_scale' not in cfg.optim_wrapper and 'dtype' not in cfg.optim_wrapper


def test_amp_refuses_a_wrapper_it_does_not_know():
    with pytest.raises(ValueError, match=r'--amp .* optim_wrapper\.type=ApexOptimWrapper'):
        set_precision(Config(dict(optim_wrapper=dict(type='ApexOptimWrapper'))), amp=True)


def test_training_with_amp_on_a_cpu(run):
    runner = run(amp=True, cfg_options={'train_cfg.max_epochs': 1})
    assert type(runner.optim_wrapper).__name__ == 'AutocastOptimWrapper'
    assert runner.iter == 4


# -------------------------------------------------------------------------------------------------- data


def test_the_data_folder_reaches_every_place_that_names_it():
    cfg = Config(
        dict(
            train_dataloader=dict(
                dataset=dict(type='Repeat', dataset=dict(type='Coco', data_root='data/coco/', ann_file='a.json'))
            ),
            val_evaluator=[dict(type='CocoMetric', ann_file='data/coco/annotations/val.json')],
            custom_hooks=[dict(type='KNNHook', data_root='data/coco'), dict(type='KNNHook', data_root=None)],
            test_dataloader=dict(dataset=dict(type='ImageFolder', pipeline=[])),
        )
    )
    set_data_root(cfg, '/disk/mine')
    assert cfg.train_dataloader.dataset.dataset == dict(type='Coco', data_root='/disk/mine', ann_file='a.json')
    assert cfg.val_evaluator[0].ann_file == '/disk/mine/annotations/val.json'
    assert [hook.data_root for hook in cfg.custom_hooks] == ['/disk/mine', None]
    assert cfg.test_dataloader.dataset.data_root == '/disk/mine'


def test_data_that_is_not_there_is_an_error_before_anything_is_built(prepared, tmp_path):
    with pytest.raises(ValueError, match=r'train_dataloader\.dataset\.data_root is not set: pass --data'):
        prepared(data=None)
    with pytest.raises((ValueError, FileNotFoundError), match='nowhere'):
        prepared(data=str(tmp_path / 'nowhere'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty'):
        prepared(data=str(tmp_path / 'empty'))


# ------------------------------------------------------------------------------------------------ resume


def test_resuming(prepared, work_dir, tmp_path):
    cfg = prepared(resume='auto')
    assert cfg.resume and cfg.load_from is None
    checkpoint = tmp_path / 'x.pth'
    checkpoint.write_bytes(b'')
    assert prepared(resume=str(checkpoint)).load_from == str(checkpoint)
    for option in ('resume', 'pretrained'):
        with pytest.raises(FileNotFoundError, match=rf'--{option} .*none\.pth'):
            prepared(**{option: str(tmp_path / 'none.pth')})


def test_a_restarted_worker_continues_its_own_run_alone(prepared, work_dir, monkeypatch):
    work_dir.mkdir()
    (work_dir / 'last_checkpoint').write_text('epoch_9.pth')
    prepared()  # a new run in the folder of an old one
    assert not (work_dir / 'last_checkpoint').exists()
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    assert not prepared().get('resume')  # died before it saved anything
    (work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    assert prepared().resume


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without GPU')
def test_launchers_that_need_gpus_say_so(prepared, launcher):
    with pytest.raises(ValueError, match=rf'launcher={launcher} needs GPUs.*torchrun'):
        prepared(launcher=launcher)


def test_a_launcher_that_did_not_launch_says_so(prepared, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(ValueError, match=r'launcher=pytorch, but RANK.*torchrun'):
        prepared(launcher='pytorch')


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        ('optim_wraper = dict(type="OptimWrapper")', r"unknown config key 'optim_wraper'.*'optim_wrapper'"),
        ('model["type"] = "MaskedImageModelling"', r"model\.type='MaskedImageModelling' .*'MaskedImageModeling'"),
        ('model["backbone"]["type"] = "MaskedVit"', r"model\.backbone\.type='MaskedVit'.*'MaskedViT'"),
        ('model["masking"]["type"] = "RandomMask"', r"model\.masking\.type='RandomMask'.*'RandomMasking'"),
        ('model["masking"]["ratio"] = 0.5', r'model\.masking\.ratio=0\.5: RandomMasking has no.*mask_ratio'),
        ('model["masked"] = 1', r"model\.masked=1: MaskedImageModeling has no argument 'masked'"),
        ('model["backbone"]["patchsize"] = 4', r"backbone\.patchsize=4: MaskedViT has no.*'patch_size'"),
        ('train_dataloader["batchsize"] = 4', r"train_dataloader\.batchsize=4:.*'batch_size'"),
        ('train_dataloader["batch_size"] = 0', r'train_dataloader\.batch_size=0, must be a whole number'),
        ('train_dataloader["num_workers"] = -1', r'train_dataloader\.num_workers=-1'),
        ('train_dataloader["sampler"]["shufle"] = 1', r'train_dataloader\.sampler\.shufle=1: EpochSampler'),
        ('train_dataloader["dataset"]["root"] = "x"', r"dataset\.root='x': ImageFolder has no.*data_root"),
        (
            'train_dataloader["dataset"]["pipeline"][1] = dict(type="LoadImag")',
            r"pipeline\[1\]\.type='LoadImag'.*'LoadImage'",
        ),
        ('train_cfg["max_epoch"] = 3', r"train_cfg\.max_epoch=3:.*'max_epochs'"),
        ('train_cfg["max_epochs"] = 0', r'train_cfg\.max_epochs=0, must be a whole number of at least 1'),
        ('del train_cfg["by_epoch"]', "train_cfg needs 'by_epoch'"),
        ('optim_wrapper["optimizer"]["type"] = "AdamWW"', r"optimizer\.type='AdamWW'.*'AdamW'"),
        ('optim_wrapper["optimizer"]["learning_rate"] = 1', r'optimizer\.learning_rate=1: AdamW has no argument'),
        ('optim_wrapper["clip"] = 1', r"optim_wrapper\.clip=1: OptimWrapper has no argument 'clip'"),
        ('param_scheduler[0]["stop"] = 3', r'param_scheduler\[0\]\.stop=3: LinearLR has no argument'),
        ('custom_hooks = [dict(type="KNNHok", interval=1)]', r"custom_hooks\[0\]\.type='KNNHok'.*'KNNHook'"),
        ('custom_hooks = [dict(interval=1)]', r"custom_hooks\[0\] has no 'type'"),
        (
            'custom_hooks = [dict(type="GradientRulesHook", clip=3)]',
            r'custom_hooks\[0\]\.clip=3: GradientRulesHook has no',
        ),
        (
            'custom_hooks = [dict(type="DistillationMonitorHook", intervall=1)]',
            r"custom_hooks\[0\]\.intervall=1: DistillationMonitorHook .*'interval'",
        ),
        (
            'param_scheduler.append(dict(type="mmpretrain.CosineAnnealingWeightDecay", final=0.4))',
            r'param_scheduler\[2\]\.final=0\.4: CosineAnnealingWeightDecay has no argument',
        ),
        ('param_scheduler.append(dict(type="CosineAnnealingWeightDecay"))', r'not a registered parameter scheduler'),
        ('model["projector"] = dict(type="Projektor")', r'model\.projector.*'),
        ('model["patch_loss"] = dict(type="MaskedPatchLoss", centre_over="all")', r'model\.patch_loss'),
        ('default_hooks["logger"]["intervl"] = 3', r'default_hooks\.logger\.intervl=3: LoggerHook'),
        ('visualizer["vis_backends"][0]["type"] = "Tensorbord"', r"vis_backends\[0\]\.type='Tensorbord'"),
        ('del optim_wrapper', 'train needs .* train_dataloader is there, but optim_wrapper is not'),
        ('val_cfg = dict()', 'val needs .* val_cfg is there, but val_dataloader, val_evaluator is not'),
        ('del model', "no 'model'"),
        ('auto_scale_lr = dict(base_batchsize=4)', r'auto_scale_lr\.base_batch_size=None'),
        ('train_dataloader = None', 'describes no training'),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(prepared, extra, message):
    with pytest.raises(ValueError, match=message):
        prepared(extra)


@pytest.mark.parametrize(
    'extra',
    [
        'model_name, train_pipeline, data_root, base_lr, val_cfg_note = "a", [], "", 1.0, "b"',
        'custom_hooks = [dict(type="EMAHook", momentum=1e-4, priority=49)]',
        'param_scheduler.append(dict(type="mmengine.CosineAnnealingMomentum", begin=0, end=3, T_max=3))',
        'optim_wrapper["paramwise_cfg"]["custom_keys"] = dict(backbone=dict(lr_mult=0.1))',
        'model["backbone"]["norm_cfg"] = dict(type="LN", eps=1e-6)',
        'model["init_cfg"] = dict(type="TruncNormal", layer="Linear", std=0.02)',
        'optim_wrapper["type"] = "mimselfsup.AutocastOptimWrapper"',
        'custom_hooks = [dict(type="GradientRulesHook", clip_per_tensor=3.0, frozen=dict(last_layer=1))]',
        'custom_hooks = [dict(type="mimselfsup.DistillationMonitorHook", interval=5)]',
        'optim_wrapper, param_scheduler, train_cfg = adamw_cosine(3, 1, 1e-3, 4, final_weight_decay=0.4)',
    ],
)
def test_what_is_allowed_passes(prepared, extra):
    prepared(extra)


@pytest.mark.parametrize(
    'path',
    [
        'mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py',
        'mmpretrain::vision_transformer/vit-base-p16_64xb64_in1k.py',
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        'mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py',
    ],
)
def test_configs_of_other_packages_pass(tmp_path, path):
    (tmp_path / 'config.py').write_text(f"_base_ = '{path}'\n")
    cfg = load_config(tmp_path / 'config.py')
    launch.mend_known_traps(cfg)
    launch.make_reproducible(cfg)
    check_config(cfg)
    assert not cfg.get('pretrained')  # mmdet's variable of that name is not our --pretrained
    if path.startswith('mmseg'):
        assert cfg.log_processor.by_epoch is False


@pytest.mark.parametrize(
    ('path', 'imported'),
    [
        ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', {'detection', 'lvis'}),
        ('mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py', {'segmentation'}),
        ('mmpretrain::vision_transformer/vit-base-p16_64xb64_in1k.py', set()),
    ],
)
def test_configs_of_detection_and_segmentation_find_what_transfer_registers(tmp_path, monkeypatch, path, imported):
    """Without custom_imports; those of other tasks wait for no import of mmdet."""
    found = []
    monkeypatch.setattr(launch, 'import_module', lambda name: found.append(name) or import_module(name))
    (tmp_path / 'config.py').write_text(f"_base_ = '{path}'\n")
    load_config(tmp_path / 'config.py')
    assert {name.removeprefix('mimselfsup.transfer.') for name in found} == imported


def test_data_of_other_packages_becomes_reproducible(tmp_path, prepared):
    def read(path):
        (tmp_path / 'config.py').write_text(f"_base_ = '{path}'\n")
        cfg = load_config(tmp_path / 'config.py')
        launch.make_reproducible(cfg)
        return cfg.train_dataloader

    detector = read('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    assert (detector.sampler.type, detector.sampler.shuffle) == ('mimselfsup.EpochSampler', True)
    assert detector.batch_sampler.type == 'mimselfsup.ResumableBatchSampler'
    assert detector.batch_sampler.batch_sampler.type == 'AspectRatioBatchSampler'
    assert (detector.dataset.type, detector.dataset.dataset.type) == ('mimselfsup.SeededDataset', 'CocoDataset')
    segmentor = read('mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py')
    assert segmentor.sampler.type == 'mimselfsup.EndlessSampler' and 'batch_sampler' not in segmentor
    ours = prepared().train_dataloader
    assert (ours.sampler.type, ours.dataset.type) == ('EpochSampler', 'ImageFolder')


def test_which_network_is_meant_needs_a_checkpoint(prepared):
    with pytest.raises(ValueError, match='--pretrained-from student'):
        prepared(pretrained_from='student')


def test_options_of_the_command_line(prepared, tmp_path):
    assert prepared(cfg_options={'train_cfg.max_epochs': 9}).train_cfg.max_epochs == 9
    with pytest.raises(ValueError, match=r"--cfg-options trian_cfg\.max_epochs.*did you mean 'train_cfg'"):
        prepared(cfg_options={'trian_cfg.max_epochs': 9})
    with pytest.raises(FileNotFoundError, match=r'config .*none\.py does not exist'):
        load_config(tmp_path / 'none.py')
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    with pytest.raises(ValueError, match=r'broken\.py cannot be read: SyntaxError'):
        load_config(tmp_path / 'broken.py')


def caught(function) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError('nothing was raised')


def test_errors_are_told_apart(prepared, tmp_path):
    ours = caught(lambda: prepared(data=None))
    assert is_user_error(ours, before_training=True) and is_user_error(ours, before_training=False)
    deep = caught(lambda: torch.zeros(2).view(3, int('x')))
    assert not is_user_error(deep, before_training=True)
    from mmengine.registry import MODELS

    of_config = caught(lambda: MODELS.build(dict(type='NoSuchModel')))
    assert is_user_error(of_config, before_training=True) and not is_user_error(of_config, before_training=False)
