from types import SimpleNamespace

import pytest
import torch

from mimselfsup.engine.checkpoint import CheckpointError
from mimselfsup.engine.hooks import PretrainedNeckHook
from mimselfsup.models import Projector, ProjectorStem


class Runner(SimpleNamespace):
    iter = 0
    logger = SimpleNamespace(info=lambda text: None)


def started(neck: ProjectorStem, pretrained: str | None, **kwargs) -> None:
    model = torch.nn.Module()
    model.neck = neck
    PretrainedNeckHook().before_train(Runner(model=model, cfg=dict(pretrained=pretrained), **kwargs))


def test_it_is_the_projector_up_to_its_first_layer(tmp_path):
    torch.manual_seed(0)
    projector = Projector(8, num_prototypes=5, hidden=12, bottleneck=4)
    state = {f'teacher.projector.{name}': value for name, value in projector.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    stem = ProjectorStem(8, hidden=12)
    features = torch.randn(3, 8)
    started(stem, str(tmp_path / 'a.pth'))
    torch.testing.assert_close(stem((features,))[0], projector.mlp[:2](features))

    torch.nn.init.zeros_(stem.mlp[0].weight)
    started(stem, str(tmp_path / 'a.pth'), iter=7)  # resumed: what was trained stays
    assert not stem.mlp[0].weight.any()
    started(stem, None)
    assert not stem.mlp[0].weight.any()


def test_a_file_without_a_projector_is_refused(tmp_path):
    torch.save(dict(state_dict={'backbone.cls_token': torch.zeros(1)}), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'teacher\.projector\.'):
        started(ProjectorStem(8), str(tmp_path / 'a.pth'))
