"""What a wheel contains and whether an installed package finds its configs from another folder."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = 'mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'


def run(*command, **kwargs):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def pip(*arguments, **kwargs):
    return run(sys.executable, '-m', 'pip', '--disable-pip-version-check', *arguments, **kwargs)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the sources: building leaves build/ and mimselfsup/.mim behind."""
    copy = tmp_path_factory.mktemp('source') / 'mimselfsup'
    copy.mkdir()
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, copy)
    for name in ('mimselfsup', 'configs', 'tools'):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    return copy


@pytest.fixture(scope='module')
def installed(source, tmp_path_factory):
    """Site folder of a plain `pip install .`."""
    site = tmp_path_factory.mktemp('site')
    # What an earlier build left behind, of a file that is gone since.
    stale = source / 'build' / 'lib' / 'mimselfsup' / 'removed_long_ago.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    (source / 'configs' / '__pycache__').mkdir()
    (source / 'configs' / '__pycache__' / 'junk.pyc').touch()
    pip('install', '--quiet', '--no-deps', '--no-compile', '--no-build-isolation', '--target', site, source)
    return site


def names_below(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_install_carries_every_config_and_tool(source, installed):
    mim = installed / 'mimselfsup' / '.mim'
    for name in ('configs', 'tools'):
        assert names_below(mim / name) == names_below(source / name)
    assert (mim / 'model-index.yml').read_text() == (ROOT / 'model-index.yml').read_text()
    assert not list(mim.rglob('*.pyc'))


def test_install_carries_the_package_and_nothing_stale(source, installed):
    packed = {name for name in names_below(installed / 'mimselfsup') if not name.startswith('.mim')}
    assert packed == {name for name in names_below(source / 'mimselfsup') if not name.startswith('.mim')}
    tops = {path.name for path in installed.iterdir()}
    assert tops - {'mimselfsup'} == {name for name in tops if name.endswith('.dist-info')}


INHERIT = """
import json, mimselfsup
from mmengine.config import Config
config = Config.fromfile('mine.py')
print(json.dumps([mimselfsup.__file__, config.model.masking.type, config.model.masking.mask_ratio, config.my_key]))
"""


def inherit(folder, **environment):
    """Reads, in another folder, a config that inherits from one of the installed package."""
    folder.mkdir()
    (folder / 'mine.py').write_text(
        f"_base_ = 'mimselfsup::{CONFIG}'\nmy_key = 7\nmodel = dict(masking=dict(mask_ratio=0.5))\n"
    )
    output = run(sys.executable, '-W', 'ignore', '-c', INHERIT, cwd=folder, env=dict(os.environ, **environment))
    return json.loads(output.splitlines()[-1])


def test_configs_are_inherited_from_another_folder(installed, tmp_path):
    where, kind, ratio, key = inherit(tmp_path / 'elsewhere', PYTHONPATH=str(installed))
    assert Path(where).is_relative_to(installed)
    assert (kind, ratio, key) == ('RandomMasking', 0.5, 7)


def test_configs_are_inherited_by_an_editable_install(source, tmp_path):
    """Not through the installed files: what is edited in the clone counts at once."""
    site = tmp_path / 'site'
    wheels = tmp_path / 'wheels'
    wheels.mkdir()
    code = f'from setuptools import build_meta; build_meta.build_editable({str(wheels)!r})'
    run(sys.executable, '-c', code, cwd=source)
    pip('install', '--quiet', '--no-deps', '--target', site, *wheels.glob('*.whl'))
    mim = source / 'mimselfsup' / '.mim'
    assert (mim / 'configs').is_symlink() and (mim / 'configs').resolve() == (source / 'configs').resolve()
    # The child runs in an environment that may hold an editable install already: its finder makes way.
    (site / 'sitecustomize.py').write_text(
        'import site, sys\n'
        'for name in [name for name in sys.modules if name.startswith("__editable___mimselfsup")]:\n'
        '    del sys.modules[name]\n'
        f'site.addsitedir({str(site)!r})\n'
        'sys.meta_path.insert(0, sys.meta_path.pop())\n'
    )
    where, kind, ratio, key = inherit(tmp_path / 'elsewhere', PYTHONPATH=str(site))
    assert Path(where).is_relative_to(source)
    assert (kind, ratio, key) == ('RandomMasking', 0.5, 7)


def test_index_and_metafiles_name_files_that_exist():
    """MMEngine reads all of them on each `mimselfsup::` and fails on the first that is missing."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert sorted(index) == sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/*/metafile.yml'))
    for path in index:
        meta = yaml.safe_load((ROOT / path).read_text())
        collections = {collection['Name']: collection for collection in meta['Collections']}
        for collection in collections.values():
            assert (ROOT / collection['README']).is_file()
        for model in meta['Models']:
            assert (ROOT / model['Config']).is_file(), model['Config']
            assert Path(model['Config']).stem == model['Name']
            assert model['In Collection'] in collections


def test_constraints_pin_what_setup_asks_for():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        if line and not line.startswith('#'):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                pins[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix('==')
    setup = runpy.run_path(str(ROOT / 'setup.py'))
    for text in setup['base'] + setup['test']:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text
    assert pins['opencv-python'] == pins['opencv-python-headless']
    assert pins['numpy'].startswith('2.2.')
