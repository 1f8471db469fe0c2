import pytest
import torch

from mimselfsup.models.targets import FeatureTarget
from mimselfsup.registry import MODELS

from ..conftest import TINY, randomise

TEACHER = dict(type='MaskedViT', arch=TINY, img_size=32, patch_size=8)


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return randomise(MODELS.build(TEACHER | dict(hidden='replace', drop_path_rate=0.5))).eval()


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'teacher.backbone.'])
def test_features_are_the_teachers_patch_tokens(teacher, prefix, tmp_path):
    """From a bare backbone, from any algorithm, and from one that has a student too."""
    state = {prefix + name: value for name, value in teacher.state_dict().items()}
    if prefix:
        state |= {'student.backbone.ln1.weight': torch.zeros(48), 'decoder.bias': torch.zeros(3)}
    torch.save(dict(state_dict=state), tmp_path / 'teacher.pth')
    images = torch.randn(2, 3, 32, 32)
    features = teacher.encode(images).patches
    checkpoint = tmp_path / 'teacher.pth'
    target = FeatureTarget((8, 8), TEACHER | dict(drop_path_rate=0.5), checkpoint, normalize=None).train()
    assert target.out_channels == 48
    torch.testing.assert_close(target(images), features)
    unit = FeatureTarget((8, 8), TEACHER, checkpoint)(images)
    torch.testing.assert_close(unit, features / features.norm(dim=-1, keepdim=True))
    standard = FeatureTarget((8, 8), TEACHER, checkpoint, normalize='layer_norm')(images)
    spread = features.var(-1, unbiased=False, keepdim=True)
    torch.testing.assert_close(standard, (features - features.mean(-1, keepdim=True)) / (spread + 1e-5).sqrt())
    assert not target.state_dict() and not target(images).requires_grad


def test_errors(tmp_path, teacher):
    with pytest.raises(ValueError, match="normalize='l3', must be one of"):
        FeatureTarget((8, 8), TEACHER, normalize='l3')
    with pytest.raises(FileNotFoundError, match=r'FeatureTarget: there is no file .*weights of MaskedViT'):
        FeatureTarget((8, 8), TEACHER, tmp_path / 'none.pth')
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
    deeper = TEACHER | dict(arch=dict(TINY, num_layers=4))
    with pytest.raises(ValueError, match=r'does not fit MaskedViT: it lacks layers\.3'):
        FeatureTarget((8, 8), deeper, tmp_path / 'teacher.pth')
