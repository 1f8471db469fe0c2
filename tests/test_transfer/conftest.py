import pytest
from mmengine.config import Config

from .tiny import Project, write_world


@pytest.fixture(scope='package')
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('transfer') / 'world')


@pytest.fixture
def project(tmp_path, world, monkeypatch):
    # Formatting a config of mmdet takes a second, and every start and every checkpoint does it.
    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: str(self._cfg_dict)))
    monkeypatch.setattr(Config, 'dump', lambda self, file=None: None)
    monkeypatch.chdir(tmp_path)  # mmengine collects results of processes below it
    return Project(tmp_path, world)
