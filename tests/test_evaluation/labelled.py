"""A folder of labelled pictures whose class is the colour, and the tiny MAE's config over it."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.test_engine.tiny import write_config

COLOURS = dict(blue=(20, 30, 220), green=(20, 200, 40), red=(220, 30, 20))


def write_labelled(root: Path, train: int = 6, val: int = 3, noise: int = 20) -> Path:
    """With ``noise`` far above 100 the classes overlap, so that a k-NN is neither always right nor wrong."""
    rng = np.random.default_rng(0)
    for split, count in (('train', train), ('val', val)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                added = rng.integers(-noise, noise, (20, 24, 3)) + rng.normal(0, noise - 20, 3)
                pixels = np.clip(np.array(colour) + added, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return root


def write_labelled_config(path: Path, data_root: Path, extra: str = '') -> Path:
    lines = f"\ntrain_dataloader['dataset'].update(data_root={str(data_root)!r}, split='train')\n"
    return write_config(path, lines + extra)
