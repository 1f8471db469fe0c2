"""Figures of a model: which images it is shown, what it is asked, and the figure of the answers."""

import ast
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor

from mimselfsup.evaluation.data import default_data_root, eval_pipeline
from mimselfsup.registry import DATASETS, MASKINGS
from mimselfsup.visualization import attention_figure, masks_figure, reconstruction_figure, to_picture

from .model import load_config

SEEDS_SHOWN = 4
LONGEST_NAME = 9  # letters of a strategy in one line of a column title


def choose_images(
    config: Config,
    images: Sequence[str | Path] | None = None,
    data_roots: Sequence[str | Path] = (),
    number: int = 6,
    seed: int = 0,
) -> list[str]:
    """Paths of the pictures to show: those named, or ``number`` drawn by ``seed`` from each data folder.

    From ``val/`` of a folder where it has one, else from all of it; without folders, from the config's data.
    """
    if images:
        absent = [str(path) for path in images if not Path(path).is_file()]
        if absent:
            raise ValueError(f'--images: no such file: {", ".join(absent)}')
        return [str(path) for path in images]
    if number < 1:
        raise ValueError(f'--num {number}: must be at least 1')
    data_roots = data_roots or [default_data_root(config)]
    if None in data_roots:
        raise ValueError('the config names no data folder; give --data FOLDER or --images FILE ...')
    return [path for root in data_roots for path in _drawn(root, number, seed)]


def _drawn(data_root: str | Path, number: int, seed: int) -> list[str]:
    split = 'val' if (Path(data_root) / 'val').is_dir() else 'train'
    settings = dict(type='mimselfsup.ImageFolder', data_root=str(data_root), split=split, pipeline=[])
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        dataset = DATASETS.build(settings)
    drawn = np.random.default_rng(seed).permutation(len(dataset))[:number]
    return [os.fspath(dataset.get_data_info(int(index))['img_path']) for index in drawn]


def load_images(config: Config, paths: Sequence[str], model: BaseModel) -> Tensor:
    """(B, 3, H, W) on the model's device, in the evaluation view, normalised."""
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        pipeline = Compose(eval_pipeline(config))
    batch = default_collate([pipeline(dict(img_path=str(path), sample_idx=0)) for path in paths])
    return model.data_preprocessor(batch, False)['inputs']


def pictures_of(model: BaseModel, images: Tensor) -> np.ndarray:
    """Normalised images -> (B, H, W, 3) RGB in [0, 1]."""
    preprocessor = model.data_preprocessor
    if not getattr(preprocessor, '_enable_normalize', False):
        return to_picture(images)
    return to_picture(images, preprocessor.mean, preprocessor.std)


def read_strategies(config: Config, wanted: list[str] | None, seed: int) -> list[tuple[str, dict]]:
    """(column title, masking config) pairs.

    Of each text: a config file, whose model.masking is meant, or a masking as Python literals, such as
    "dict(type='BlockMasking', mask_ratio=0.4)". Without any, the config's own masking several times.
    """
    if not wanted:
        own = config.model.get('masking')
        if own is None:
            raise ValueError(f'config {config.filename}: has no model.masking; name some by --strategies')
        return [(f'seed {seed + column}', own) for column in range(SEEDS_SHOWN)]
    strategies = []
    for text in wanted:
        if text.endswith('.py'):
            settings = load_config(text).model.get('masking')
            if settings is None:
                raise ValueError(f'--strategies {text}: the config has no model.masking')
            strategies.append((_title(settings), settings))
        else:
            settings = _parse_masking(text)
            strategies.append((_title(settings), settings))
    return strategies


def _parse_masking(text: str) -> dict:
    """``dict(type=..., ...)`` or ``{...}`` of literals; nothing is evaluated."""
    problem = ValueError(
        f'--strategies {text}: must be a config file (.py) or like "dict(type=\'RandomMasking\', mask_ratio=0.75)"'
    )
    try:
        call = ast.parse(text, mode='eval').body
        if isinstance(call, ast.Call) and getattr(call.func, 'id', '') == 'dict' and not call.args:
            settings = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        else:
            settings = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        raise problem from None
    if not isinstance(settings, dict) or 'type' not in settings:
        raise problem
    return settings


def _title(settings: dict) -> str:
    """The strategy and, line by line below, what it is asked to hide: 'Block' and 'mask 40%'."""
    name = str(settings['type']).rsplit('.', 1)[-1].removesuffix('Masking') or 'Masking'
    if len(name) > LONGEST_NAME:  # a column is narrow
        name = re.sub('(?<=[a-z])(?=[A-Z])', '\n', name)
    shown = [name]
    if 'mode' in settings:
        shown.append(str(settings['mode']))
    for key, verb in (('mask_ratio', 'mask'), ('throw_ratio', 'throw'), ('show_ratio', 'show')):
        ratio = settings.get(key)
        if ratio and not isinstance(ratio, str):  # show_ratio='same'
            values = ratio if isinstance(ratio, list | tuple) else (ratio,)
            shown.append(f'{verb} ' + '-'.join(f'{100 * value:.0f}' for value in values) + '%')
    if settings.get('throw_ratio'):
        shown.append(str(settings.get('throw', 'middle')))
    shown += [f'{key} {settings[key]}' for key in ('num', 'p') if key in settings]
    if settings.get('unit', 1) != 1:
        shown.append(f'unit {settings["unit"]}')
    return '\n'.join(shown)


@torch.no_grad()
def draw_masks(
    model: BaseModel,
    images: Tensor,
    strategies: Sequence[tuple[str, dict]],
    seed: int = 0,
    groups: int = 1,
    trained: bool = True,
) -> Figure:
    """What each strategy, a name and a masking config, hides of ``images``.

    All draw from ``seed``, so that the variants of a strategy show what they make of the same ranking; one that
    occurs again draws from seed + 1, and so on. A strategy that ranks patches by saliency gets this model's own,
    the [CLS] row of the last block, mean over heads, which is then shown as well; with ``trained=False``, of a model
    without a checkpoint, that is refused.
    """
    grid = model.backbone.token_grid(images.shape[-2:])
    maskings = [MASKINGS.build(settings) for _, settings in strategies]
    ranking = [type(masking).__name__ for masking in maskings if masking.needs_saliency]
    if ranking and not trained:
        raise ValueError(f'{ranking[0]} hides by attention: give a checkpoint to take it from')
    saliency = _cls_attention(model, images)[0].mean(1).cpu() if ranking else None
    masks, drawn = [], []
    for (name, settings), masking in zip(strategies, maskings, strict=True):
        generator = torch.Generator().manual_seed(seed + drawn.count(settings))
        drawn.append(settings)
        masks.append((name, masking(grid, len(images), saliency, generator)))
    shown = None if saliency is None else saliency.numpy()
    return masks_figure(pictures_of(model, images), masks, grid, groups, shown)


def draw_reconstruction(model: BaseModel, images: Tensor, seed: int = 0, groups: int = 1) -> Figure:
    """Input, what is left of it under a mask drawn by ``seed``, and the model's picture of the whole."""
    if not hasattr(model, 'reconstruct'):
        raise ValueError(f'{type(model).__name__} does not reconstruct images; use a MaskedImageModeling config')
    generator = torch.Generator(images.device).manual_seed(seed)
    mask, pixels = model.reconstruct(images, generator)
    grid = model.backbone.token_grid(images.shape[-2:])
    return reconstruction_figure(pictures_of(model, images), pictures_of(model, pixels), mask, grid, groups)


def draw_attention(model: BaseModel, images: Tensor, upsample: str = 'bicubic') -> Figure:
    """[CLS] attention of the last block, per head."""
    attention, grid = _cls_attention(model, images)
    return attention_figure(pictures_of(model, images), attention.cpu().numpy(), grid, upsample)


@torch.no_grad()
def _cls_attention(model: BaseModel, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    tokens = model.backbone.encode(images, cls_attention=True)
    if tokens.cls_attention is None:
        raise ValueError(f'{type(model.backbone).__name__} has no [CLS] token, hence no [CLS] attention')
    return tokens.cls_attention.float(), model.backbone.token_grid(images.shape[-2:])
