import os
import pickle
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.runner.checkpoint import load_checkpoint as mmengine_load_checkpoint
from torch import nn

from mimselfsup.engine.checkpoint import (
    BrokenCheckpointError,
    CheckpointError,
    find_resumable,
    install_safe_loading,
    load_pretrained,
    load_weights,
    read_checkpoint,
    restore_message_hub,
    to_plain,
    trust_checkpoint,
    write_atomically,
    write_checkpoint,
    write_last_checkpoint,
)


class Payload:
    """Unpickling it creates a file: what a hostile checkpoint would do, without the harm."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


class Reach:
    def __reduce__(self):
        return getattr, (OrderedDict, 'fromkeys')


@pytest.fixture
def marker(tmp_path):
    return tmp_path / 'payload_ran'


@pytest.fixture
def hostile(tmp_path, marker):
    path = tmp_path / 'hostile.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(2)), extra=Payload(marker)), path)
    return path


@pytest.fixture
def config_code(tmp_path, marker):
    """A file that passes weights_only and still runs code wherever MMEngine takes its config for one."""
    text = f'import os\nos.mkdir({str(marker)!r})\nmodel = dict(type="Linear")\n'
    path = tmp_path / 'config_code.pth'
    hub = dict(log_scalars={}, runtime_info=dict(cfg=text), resumed_keys=dict(cfg=True))
    state = dict(weight=torch.ones(2, 2), bias=torch.ones(2))
    torch.save(dict(state_dict=state, meta=dict(cfg=text, config=text, epoch=1, iter=1), message_hub=hub), path)
    return path


def test_a_payload_is_refused_and_does_not_run(hostile, marker):
    with pytest.raises(CheckpointError, match=r'hostile\.pth was refused.*mkdir.*--trust-checkpoint'):
        read_checkpoint(hostile)
    assert not marker.exists()


@pytest.mark.parametrize('by', ['argument', 'file'])
def test_only_an_explicit_flag_lets_it_run(hostile, marker, by):
    if by == 'file':
        trust_checkpoint(hostile)
    read_checkpoint(hostile, trusted=by == 'argument')
    assert marker.exists()


def test_getattr_is_out_of_reach(tmp_path):
    """MMEngine allows it, because its history buffers are pickled with it."""
    torch.save(dict(x=Reach()), tmp_path / 'reach.pth')
    assert read_checkpoint(tmp_path / 'reach.pth')['x'] == 'fromkeys'


def test_a_file_cannot_replace_the_methods_of_history_buffers(tmp_path):
    history = HistoryBuffer([1.0], [1])
    before = dict(HistoryBuffer._statistics_methods)
    history.__dict__['_statistics_methods'] = dict(before, mean=np.ndarray)
    torch.save(dict(message_hub=dict(log_scalars=dict(loss=history))), tmp_path / 'file.pth')
    read_checkpoint(tmp_path / 'file.pth')
    assert before == HistoryBuffer._statistics_methods


def test_no_mmengine_loader_runs_a_payload(hostile, marker, monkeypatch):
    install_safe_loading()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(hostile.parent))
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda url, target, *args, **kwargs: Path(target).write_bytes(hostile.read_bytes()),
    )
    for address in (str(hostile), 'http://example.org/some.pth', 'https://example.org/other.pth'):
        with pytest.raises(CheckpointError):
            CheckpointLoader.load_checkpoint(address)
        with pytest.raises(CheckpointError):
            mmengine_load_checkpoint(nn.Linear(2, 2), address)
    assert not marker.exists()


def test_config_text_is_not_executed_by_an_inferencer(config_code, marker):
    from mmengine.infer import BaseInferencer

    install_safe_loading()
    with pytest.raises(ValueError, match='Cannot find the config'):
        BaseInferencer._init_model(None, Config(), str(config_code))
    assert not marker.exists()


def test_config_text_is_kept_under_a_name_nothing_executes(config_code):
    checkpoint = read_checkpoint(config_code)
    assert checkpoint['meta'].keys() == {'config_text', 'epoch', 'iter'}
    assert checkpoint['message_hub']['runtime_info'].keys() == {'config_text'}
    assert not checkpoint['message_hub']['resumed_keys']


def test_arrays_of_both_numpy_generations_are_read(tmp_path):
    content = dict(
        floats=np.arange(3.0), scalar=np.float64(2.5), flags=np.array([True]), words=np.array(['a', 'b']),
        args=Namespace(lr=0.1),
        message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.0, 2.0], [1, 1]))),
    )  # fmt: skip
    torch.save(content, tmp_path / 'new.pth')
    # Files of numpy 1 name its module numpy.core.
    torch.save(content, tmp_path / 'old.pth', pickle_module=_OldNumpy)
    for name in ('new.pth', 'old.pth'):
        read = read_checkpoint(tmp_path / name)
        np.testing.assert_array_equal(read['floats'], [0, 1, 2])
        assert read['scalar'] == 2.5 and read['words'].tolist() == ['a', 'b'] and read['args'].lr == 0.1
        assert read['message_hub']['log_scalars']['loss'].mean() == 1.5


class _OldNumpy:
    """The pickle module, with numpy's internal module called as in numpy 1."""

    __name__ = 'pickle'
    HIGHEST_PROTOCOL = 2
    load, loads, Unpickler = pickle.load, pickle.loads, pickle.Unpickler

    class Pickler(pickle._Pickler):
        def save_global(self, obj, name=None):
            if getattr(obj, '__module__', '') == 'numpy._core.multiarray':
                self.write(f'cnumpy.core.multiarray\n{obj.__name__}\n'.encode())
                self.memoize(obj)
            else:
                super().save_global(obj, name)

        dispatch = {**pickle._Pickler.dispatch, type(np.array): save_global, type(len): save_global}  # noqa: RUF012


@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.99])
def test_a_torn_file_is_called_torn(tmp_path, share):
    whole = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=dict(weight=torch.randn(1000))), whole)
    torn = tmp_path / 'torn.pth'
    torn.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(BrokenCheckpointError, match=r'torn\.pth is torn'):
        read_checkpoint(torn)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.pth does not exist'):
        read_checkpoint(tmp_path / 'none.pth')


# -------------------------------------------------------------------------------------------- writing


def test_what_is_written_needs_no_allow_list(tmp_path):
    hub = dict(loss=HistoryBuffer([1.0, 3.0], [1, 2]))
    write_checkpoint(
        dict(
            meta=dict(lr=np.float32(0.5), classes=('a', 'b'), palette=np.eye(2), path=Path('x')),
            state_dict=OrderedDict(weight=nn.Parameter(torch.ones(2))),
            message_hub=dict(log_scalars=hub, runtime_info={}, resumed_keys={}),
        ),
        tmp_path / 'own.pth',
    )
    read = torch.load(tmp_path / 'own.pth', weights_only=True)
    assert read['meta'] == dict(lr=0.5, classes=('a', 'b'), palette=[[1, 0], [0, 1]], path='x')
    restored = restore_message_hub(read['message_hub'])['log_scalars']['loss']
    assert isinstance(restored, HistoryBuffer)
    assert [part.tolist() for part in restored.data] == [[1, 3], [1, 2]]


def test_what_cannot_be_plain_is_named():
    with pytest.raises(CheckpointError, match='Linear cannot be put into a checkpoint'):
        to_plain(dict(model=[nn.Linear(1, 1)]))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'old')

    def write(file):
        file.write(b'half of the new')
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        write_atomically(path, write)
    assert path.read_bytes() == b'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['epoch_1.pth']


def test_a_kill_during_a_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=dict(iter=1)), path)

    def write(file):
        file.write(b'half of the new')
        file.flush()
        os._exit(9)

    child = os.fork()
    if child == 0:
        write_atomically(path, write)
    os.waitpid(child, 0)
    assert read_checkpoint(path)['meta']['iter'] == 1
    assert find_resumable(tmp_path) == str(path)
    torch.save(dict(meta=dict(iter=2)), tmp_path / 'next.pth')
    write_atomically(path, lambda file: file.write((tmp_path / 'next.pth').read_bytes()))
    assert read_checkpoint(path)['meta']['iter'] == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ['epoch_1.pth', 'next.pth']


# ------------------------------------------------------------------------------------ the newest one


def save_at(path, iteration):
    write_checkpoint(dict(meta=dict(iter=iteration), weights=torch.zeros(500)), path)


def test_the_newest_complete_one_is_found_by_number(tmp_path):
    for epoch in (9, 10, 11):
        save_at(tmp_path / f'epoch_{epoch}.pth', epoch * 100)
    save_at(tmp_path / 'best_acc_epoch_99.pth', 9900)
    torn = tmp_path / 'epoch_11.pth'
    torn.write_bytes(torn.read_bytes()[:300])
    reports = []
    assert find_resumable(tmp_path, reports.append) == str(tmp_path / 'epoch_10.pth')
    assert len(reports) == 1 and str(torn) in reports[0] and 'torn' in reports[0]


def test_epochs_and_iterations_are_compared_by_what_was_saved(tmp_path):
    save_at(tmp_path / 'epoch_3.pth', 300)
    save_at(tmp_path / 'iter_250.pth', 250)
    assert find_resumable(tmp_path) == str(tmp_path / 'epoch_3.pth')
    save_at(tmp_path / 'iter_350.pth', 350)
    assert find_resumable(tmp_path) == str(tmp_path / 'iter_350.pth')


def test_a_moved_folder_resumes_from_its_own_files(tmp_path):
    old = tmp_path / 'old'
    save_at(old / 'epoch_1.pth', 10)
    write_last_checkpoint(old, old / 'epoch_1.pth')
    assert (old / 'last_checkpoint').read_text() == 'epoch_1.pth'
    (old / 'last_checkpoint').write_text(str(old / 'epoch_1.pth'))  # as MMEngine writes it
    new = tmp_path / 'new'
    new.mkdir()
    for file in old.iterdir():
        (new / file.name).write_bytes(file.read_bytes())
    assert find_resumable(new) == str(new / 'epoch_1.pth')


def test_checkpoints_kept_elsewhere_are_found_by_the_pointer(tmp_path):
    save_at(tmp_path / 'elsewhere' / 'epoch_1.pth', 10)
    (tmp_path / 'work').mkdir()
    assert find_resumable(tmp_path / 'work') is None
    write_last_checkpoint(tmp_path / 'work', tmp_path / 'elsewhere' / 'epoch_1.pth')
    assert find_resumable(tmp_path / 'work') == str(tmp_path / 'elsewhere' / 'epoch_1.pth')


# ------------------------------------------------------------------------------------------- weights


def two_layers():
    model = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.Linear(3, 1)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_weights_are_loaded_with_and_without_prefix(tmp_path):
    source = two_layers()
    write_checkpoint(dict(state_dict={f'backbone.{k}': v for k, v in source.state_dict().items()}), tmp_path / 'a')
    target = two_layers()
    report = load_weights(target, tmp_path / 'a', 'backbone.')
    assert sorted(report.loaded) == sorted(source.state_dict())
    for key, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[key], value, rtol=0, atol=0)
    assert 'left out' not in str(load_weights(target, source.state_dict()))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: {f'other.{key}': value for key, value in state.items()}, 'nothing in .* fits Sequential'),
        (lambda state: {key: value for key, value in state.items() if key != 'b.bias'}, r'lacks b\.bias'),
        (lambda state: {**state, 'b.bias': torch.zeros(7)}, r'shapes differ in b\.bias: \(7,\) -> \(1,\)'),
        (lambda state: dict(epoch=3), 'holds no table of weights'),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, message):
    target, source = two_layers(), two_layers()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(target, change(source.state_dict()))
    for key, value in before.items():
        assert torch.equal(target.state_dict()[key], value)


def test_what_may_differ_is_reported():
    source = two_layers().state_dict()
    source['head.weight'] = torch.zeros(1)
    source['a.bias'] = torch.zeros(9)
    del source['b.bias']
    target = two_layers()
    report = load_weights(target, source, allow_missing=('b.',), allow_mismatched=True)
    assert (report.left_out, report.missing) == (['head.weight'], ['b.bias'])
    assert report.mismatched == ['a.bias: (9,) -> (3,)']
    assert torch.equal(target.b.weight, source['b.weight'])


def vit(**kwargs):
    from mmpretrain.models import VisionTransformer

    arch = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48)
    return VisionTransformer(arch, patch_size=4, **kwargs)


def test_positions_are_resized_and_output_norms_may_be_new():
    source = vit(img_size=16)
    nn.init.normal_(source.pos_embed)
    model = nn.Module()
    model.backbone = vit(img_size=32, out_type='avg_featmap', final_norm=False)
    path_state = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    report = load_weights(model.backbone, path_state, 'backbone.', allow_missing=('ln2.',))
    assert report.resized == ['pos_embed']
    assert torch.equal(model.backbone.pos_embed[:, 0], source.pos_embed[:, 0])  # the class token's
    assert model.backbone.pos_embed.shape == (1, 65, 24) and path_state['backbone.pos_embed'].shape == (1, 17, 24)


def test_pretrained_fills_the_backbone_or_refuses(tmp_path):
    source = vit(img_size=16)
    write_checkpoint(dict(state_dict=source.state_dict()), tmp_path / 'bare.pth')
    whole = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    write_checkpoint(dict(state_dict={**whole, 'head.w': torch.ones(1)}), tmp_path / 'whole.pth')
    del whole['backbone.layers.0.ffn.layers.1.weight']
    write_checkpoint(dict(state_dict=whole), tmp_path / 'holed.pth')
    for name in ('bare.pth', 'whole.pth'):
        model = nn.Module()
        model.backbone = vit(img_size=16, out_type='avg_featmap', final_norm=False)
        load_pretrained(model, tmp_path / name)
        assert torch.equal(model.backbone.layers[0].ffn.layers[1].weight, source.layers[0].ffn.layers[1].weight)
    with pytest.raises(CheckpointError, match=r'--pretrained .*holed\.pth.*lacks layers\.0\.ffn\.layers\.1\.weight'):
        load_pretrained(model, tmp_path / 'holed.pth')
    with pytest.raises(CheckpointError, match='Linear has none'):
        load_pretrained(nn.Linear(1, 1), tmp_path / 'bare.pth')
