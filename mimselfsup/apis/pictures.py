"""Figures of a model: which images it is shown, what it is asked, and the figure of the answers."""

import ast
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from rich.console import Console
from rich.progress import track
from torch import Tensor

from mimselfsup.evaluation.attention_distance import attention_distance, attention_distances
from mimselfsup.evaluation.attention_maps import attention_maps
from mimselfsup.evaluation.data import default_data_root, eval_pipeline
from mimselfsup.models.targets import HOGTarget, PixelTarget
from mimselfsup.registry import DATASETS, MASKINGS
from mimselfsup.visualization import (
    Reach,
    attention_figure,
    distance_figure,
    glyphs_figure,
    masks_figure,
    proxies_figure,
    queries_figure,
    reconstruction_figure,
    run_labels,
    to_picture,
)

from .model import load_config, load_model, without_pretrained

SEEDS_SHOWN = 4
BATCH_SIZE = 16  # of pictures that are not shown one by one
GLYPH_SIDE = 16  # pixels a cell
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
    """Input, what is left of it under a mask drawn by ``seed``, and the model's picture of the whole.

    Where that is not one of pixels, a picture of the target stands beside it: of HOG the glyphs, of codes what their
    tokenizer makes of them.
    """
    if not hasattr(model, 'reconstruct'):
        raise ValueError(f'{type(model).__name__} does not reconstruct images; use a MaskedImageModeling config')
    generator = torch.Generator(images.device).manual_seed(seed)
    grid = model.backbone.token_grid(images.shape[-2:])
    pictures, target = pictures_of(model, images), model.target
    if isinstance(target, PixelTarget):
        mask, pixels = model.reconstruct(images, generator)
        return reconstruction_figure(pictures, pictures_of(model, pixels), mask, grid, groups)
    mask, true, filled = model.predict(images, generator)
    if isinstance(target, HOGTarget):
        drawings = [target.glyphs(each, grid, GLYPH_SIDE).cpu().numpy() for each in (true, filled)]
        return glyphs_figure(pictures, *drawings, mask, grid, groups)
    drawn, wanted = (pictures_of(model, target.to_pixels(each, images)) for each in (filled, true))
    return reconstruction_figure(pictures, drawn, mask, grid, groups, wanted)


def draw_attention(
    model: BaseModel, images: Tensor, upsample: str = 'bicubic', queries: Sequence[tuple[int, int]] = ()
) -> Figure:
    """Attention of the last block: of [CLS] per head; with ``queries``, patches (row, column) of the grid, or several
    [CLS] tokens, of each of these tokens, the mean over heads."""
    grid = model.backbone.token_grid(images.shape[-2:])
    extra = getattr(model.backbone, 'num_extra_tokens', 0)
    if not queries and extra <= 1:
        return attention_figure(
            pictures_of(model, images), _cls_attention(model, images)[0].cpu().numpy(), grid, upsample
        )
    for row, column in queries:
        if not (0 <= row < grid[0] and 0 <= column < grid[1]):
            raise ValueError(
                f'--queries {row},{column}: no such patch; rows go from 0 to {grid[0] - 1}, columns to {grid[1] - 1}'
            )
    tokens = [*range(extra), *(extra + row * grid[1] + column for row, column in queries)]
    (maps,) = attention_maps(model.backbone, images, blocks=[-1], queries=tokens)
    names = [*_cls_names(extra), *(f'patch {row},{column}' for row, column in queries)]
    places = [*[None] * extra, *queries]
    shown = maps[..., extra:].mean(1).cpu().numpy()
    return queries_figure(pictures_of(model, images), shown, names, places, grid, upsample)


def _cls_names(number: int) -> list[str]:
    return ['[CLS]'] if number == 1 else [f'proxy {index + 1}' for index in range(number)]


def draw_proxies(model: BaseModel, batches: Iterable[Tensor], upsample: str = 'bicubic') -> Figure:
    """Where each [CLS] token of the last block looks on average over all images of ``batches``, of one size."""
    extra = getattr(model.backbone, 'num_extra_tokens', 0)
    if not extra:
        raise ValueError(f'{type(model.backbone).__name__} has no [CLS] token, hence no attention of one')
    total, number = 0.0, 0
    for images in batches:
        (maps,) = attention_maps(model.backbone, images, blocks=[-1], queries=slice(extra))
        total = total + maps[..., extra:].mean(1).sum(0).double().cpu()
        number += len(images)
        grid = model.backbone.token_grid(images.shape[-2:])
    return proxies_figure((total / number).numpy(), grid, number, upsample)


def image_batches(config: Config, paths: Sequence[str], model: BaseModel, description: str) -> Iterator[Tensor]:
    """As :func:`load_images`, a few at a time; on a terminal with a progress bar."""
    starts, console = range(0, len(paths), BATCH_SIZE), Console(stderr=True)
    for start in track(starts, description, console=console, transient=True, disable=not console.is_terminal):
        yield load_images(config, paths[start : start + BATCH_SIZE], model)


def read_runs(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """['a.py', 'x.pth', 'y.pth', 'b.py', 'z.pth'] -> [('a.py', ['x.pth', 'y.pth']), ('b.py', ['z.pth'])]."""
    runs: list[tuple[str, list[str]]] = []
    for word in words:
        if word.endswith('.py'):
            runs.append((word, []))
        elif runs:
            runs[-1][1].append(word)
        else:
            raise ValueError(f'{word}: a config (.py) must stand before its checkpoints: CONFIG CKPT [CKPT ...]')
    for config, checkpoints in runs:
        if not checkpoints:
            raise ValueError(f'{config}: no checkpoint stands behind this config: CONFIG CKPT [CKPT ...]')
    return runs


def draw_distances(
    runs: Sequence[tuple[Config, Sequence[str | Path]]],
    paths: Sequence[str],
    labels: Sequence[str] | None = None,
    device: torch.device | str = 'cpu',
    seed: int = 0,
) -> Figure:
    """How far each head looks, of each checkpoint of each config, beside the random weights that ``seed`` gives.

    All models see the same pictures, ``paths``, each in its own evaluation view; see
    :func:`~mimselfsup.evaluation.attention_distance.attention_distance`.
    """
    checkpoints = [checkpoint for _, each in runs for checkpoint in each]
    labels = list(labels or _run_names(checkpoints))
    if len(labels) != len(checkpoints):
        raise ValueError(f'--labels: {len(labels)} of them for {len(checkpoints)} checkpoints')

    def distances(model: BaseModel, config: Config, what: str) -> np.ndarray:
        return attention_distances(model.backbone, image_batches(config, paths, model, what)).numpy()

    models: list[Reach] = []
    for config, own in runs:
        names = labels[len(models) : len(models) + len(own)]
        trained = [
            distances(load_model(config, checkpoint, device), config, name)
            for checkpoint, name in zip(own, names, strict=True)
        ]
        model = load_model(without_pretrained(config), device=device, seed=seed)
        initial = distances(model, config, 'random weights')
        grid = model.backbone.token_grid(load_images(config, paths[:1], model).shape[-2:])
        patches = grid[0] * grid[1]
        even = attention_distance(torch.ones(patches, patches), grid, model.backbone.patch_size).item()
        models += [Reach(name, values, initial, even) for name, values in zip(names, trained, strict=True)]
    return distance_figure(models)


def _run_names(checkpoints: Sequence[str | Path]) -> list[str]:
    """Short distinct names: of their folders, or of the files where some lie in one folder."""
    paths = [Path(each) for each in checkpoints]
    folders = [path.resolve().parent for path in paths]
    if len(set(folders)) == len(paths):
        return run_labels(folders)
    return run_labels([path.with_suffix('') for path in paths])


@torch.no_grad()
def _cls_attention(model: BaseModel, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    tokens = model.backbone.encode(images, cls_attention=True)
    if tokens.cls_attention is None:
        raise ValueError(f'{type(model.backbone).__name__} has no [CLS] token, hence no [CLS] attention')
    return tokens.cls_attention.float(), model.backbone.token_grid(images.shape[-2:])
