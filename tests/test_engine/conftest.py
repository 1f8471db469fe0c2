import itertools
from argparse import Namespace
from pathlib import Path

import pytest

from mimselfsup.engine import Runner
from mimselfsup.engine.launch import load_config, prepare_config

from .tiny import write_config, write_images


@pytest.fixture
def images(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / 'tiny_images'
    return folder if folder.exists() else write_images(folder)


_NUMBERS = itertools.count()


@pytest.fixture
def prepared(tmp_path, images):
    """prepare_config on the tiny MAE: ``extra`` is appended to its config, ``options`` are arguments."""

    def build(extra: str = '', cfg_options: dict | None = None, **options):
        config = write_config(tmp_path / 'tiny.py')
        # MMEngine's loggers are global, by a name that has only the second of the start.
        extra += f'\nexperiment_name = "tiny{next(_NUMBERS)}"\n'
        config.write_text(config.read_text() + extra)
        options = dict(config=str(config), work_dir=str(tmp_path / 'run'), data=str(images)) | options
        return prepare_config(load_config(config, cfg_options), Namespace(**options))

    return build


@pytest.fixture
def run(prepared):
    """Trains the tiny MAE in this process and gives the Runner back."""

    def start(*args, **kwargs) -> Runner:
        runner = Runner.from_cfg(prepared(*args, **kwargs))
        runner.train()
        return runner

    return start


@pytest.fixture
def work_dir(tmp_path) -> Path:
    return tmp_path / 'run'
