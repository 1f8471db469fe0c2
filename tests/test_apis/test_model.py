import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mimselfsup.apis.model import load_config, load_model, without_pretrained
from tests.test_engine.tiny import write_config


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path / 'tiny.py')


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_checkpoint_fills_every_weight_and_the_model_is_in_eval_mode(config, tmp_path):
    source = load_model(config, seed=1)
    torch.save(dict(state_dict=source.state_dict(), meta={}), tmp_path / 'a.pth')
    loaded = load_model(config, tmp_path / 'a.pth', seed=2)
    assert torch.equal(weights(loaded), weights(source))
    assert not any(module.training for module in loaded.modules())


def test_seed_decides_the_initialisation_and_leaves_the_global_generator(config):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (load_model(config, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(first), weights(again)) and not torch.equal(weights(first), weights(other))
    # init_weights() ran: truncated normal of 0.02, not torch's uniform default
    assert first.backbone.layers[0].attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_options_change_the_model_and_not_the_config_given(config):
    given = Config.fromfile(config)
    model = load_model(given, cfg_options={'model.backbone.arch.num_layers': 1})
    assert len(model.backbone.layers) == 1 and given.model.backbone.arch.num_layers == 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.backbone.arch.num_layers': 3}, 'lacks backbone.layers.2'),
        ({'model.backbone.arch.num_layers': 1}, r'no place for \(\d+, such as backbone.layers.1'),
        ({'model.decoder.width': 12}, 'shapes differ in decoder'),
    ],
)
def test_checkpoint_of_another_config_is_refused(config, tmp_path, options, message):
    torch.save(dict(state_dict=load_model(config).state_dict()), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message):
        load_model(config, tmp_path / 'a.pth', cfg_options=options)


def test_random_baseline_ignores_pretrained_weights_named_anywhere_in_the_config(config):
    given = Config.fromfile(config)
    given.model.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    given.model.backbone.init_cfg = [dict(type='Pretrained', checkpoint='nowhere.pth')]
    stripped = without_pretrained(given)
    assert stripped.model.init_cfg is None and stripped.model.backbone.init_cfg is None
    assert given.model.init_cfg is not None
    load_model(stripped)
    with pytest.raises(FileNotFoundError):
        load_model(given)


def test_checkpoint_loads_where_the_weights_that_the_run_began_with_are_gone(config, tmp_path):
    torch.save(dict(state_dict=load_model(config, seed=1).state_dict()), tmp_path / 'a.pth')
    given = Config.fromfile(config)
    given.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    assert torch.equal(weights(load_model(given, tmp_path / 'a.pth')), weights(load_model(config, seed=1)))


def test_other_initialisations_stay(config):
    given = Config.fromfile(config)
    other = dict(type='TruncNormal', layer='Linear', std=0.5)
    given.model.backbone.init_cfg = [other, dict(type='Pretrained', checkpoint='nowhere.pth')]
    given.model.decoder.init_cfg = other
    stripped = without_pretrained(given).model
    assert stripped.backbone.init_cfg == [other] and stripped.decoder.init_cfg == other


def test_loading_is_quiet_and_the_logger_keeps_its_level(config, capfd):
    level = MMLogger.get_current_instance().level
    load_model(config)
    assert 'Initialized by' not in ''.join(capfd.readouterr())
    assert MMLogger.get_current_instance().level == level


def test_errors_name_what_is_wrong(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.py'):
        load_config(tmp_path / 'nowhere.py')
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    with pytest.raises(ValueError, match=r'broken\.py'):
        load_config(tmp_path / 'broken.py')
    with pytest.raises(ValueError, match=r'model\.backbone'):
        load_config(Config(dict(model=dict(type='X'))))
    with pytest.raises(ValueError, match='device foo'):
        load_model(config, device='foo')
