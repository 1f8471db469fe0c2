"""Packaging. Configs, tools and the model index travel inside the package, as ``mimselfsup/.mim``.

MMEngine looks for them there: ``_base_ = 'mimselfsup::mae/...'`` and ``mim train mimselfsup CONFIG`` work from
any folder, for ``pip install .`` (files are copied) and for ``pip install -e .`` (links into the clone).
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mimselfsup'
SHIPPED = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    def run(self):
        if self.editable_mode:
            super().run()
            self._link()
            return
        # Setuptools builds in build/lib and packs whatever lies there: files deleted since would live on.
        shutil.rmtree(Path(self.build_lib) / PACKAGE, ignore_errors=True)
        super().run()
        self._copy(Path(self.build_lib) / PACKAGE / '.mim')

    def _link(self):
        mim = ROOT / PACKAGE / '.mim'
        if mim.is_symlink() or mim.is_file():
            mim.unlink()
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir()
        try:
            for name in SHIPPED:
                (mim / name).symlink_to(Path('..', '..', name), target_is_directory=(ROOT / name).is_dir())
        except OSError:  # Windows without the right to make links
            shutil.rmtree(mim)
            self._copy(mim)

    def _copy(self, mim):
        unwanted = shutil.ignore_patterns('__pycache__', '*.pyc', '.*')
        mim.mkdir(parents=True)
        for name in SHIPPED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, mim / name, ignore=unwanted)
            else:
                shutil.copyfile(ROOT / name, mim / name)


def version():
    text = (ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '(.+)'", text).group(1)


base = [
    'torch>=2.4',
    'torchvision>=0.19',
    'onedl-mmengine>=0.10.12,<0.11',
    'onedl-mmcv>=2.3.6,<2.4',
    'onedl-mmpretrain>=1.3.6,<1.4',
    'numpy>=1.26',
    'pillow>=10',
    'scikit-learn>=1.5',
    'scipy>=1.11',
    'safetensors>=0.4',
    'matplotlib>=3.8',
    'jinja2>=3.1',
    'markupsafe>=2.1',
    'tensorboard>=2.16',
    'tqdm>=4.66',
]
transfer = [
    'onedl-mmdetection>=3.5.1,<3.6',
    'onedl-mmsegmentation>=1.4.2,<1.5',
    'pycocotools>=2.0.8',
    'faster-coco-eval>=1.6',
]
test = [
    *transfer,
    'pytest>=8',
    'pytest-xdist>=3.6',
    'ruff>=0.9',
    'setuptools>=77',
    'timm>=1.0',
    'scikit-image>=0.24',
]
trackers = dict(wandb=['wandb>=0.19'], mlflow=['mlflow>=2.20'])

if __name__ == '__main__':
    setup(
        name=PACKAGE,
        version=version(),
        description='Self-supervised pre-training of vision transformers by choosing what to mask, on OpenMMLab',
        long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        keywords='self-supervised learning, masked image modeling, vision transformer, MAE, SimMIM',
        classifiers=[
            'Development Status :: 4 - Beta',
            'Intended Audience :: Science/Research',
            'Operating System :: POSIX :: Linux',
            'Programming Language :: Python :: 3.10',
            'Programming Language :: Python :: 3.11',
            'Programming Language :: Python :: 3.12',
            'Topic :: Scientific/Engineering :: Artificial Intelligence',
        ],
        packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
        python_requires='>=3.10',
        install_requires=base,
        extras_require=dict(
            transfer=transfer,
            test=test,
            dev=[*test, 'mypy>=1.14', 'pre-commit>=4'],
            **trackers,
            all=[*transfer, *trackers['wandb'], *trackers['mlflow']],
        ),
        cmdclass=dict(build_py=BuildWithMim),
    )
