"""A model from a config and a checkpoint, ready to be asked."""

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope

from mimselfsup.engine.checkpoint import load_weights
from mimselfsup.engine.launch import load_config as read_config
from mimselfsup.engine.validation import check_config
from mimselfsup.registry import MODELS


def load_config(config: Config | str | Path, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """A copy of ``config``, or the file read and checked, with ``cfg_options`` ({'a.b': value}) merged in."""
    if isinstance(config, Config):
        config = copy.deepcopy(config)
        config.merge_from_dict(dict(cfg_options or {}))
    else:
        config = read_config(config, dict(cfg_options or {}))
        check_config(config)
    if not isinstance(config.get('model'), Mapping) or 'backbone' not in config.model:
        raise ValueError(f'config {config.filename}: has no model.backbone; is it a pre-training config?')
    return config


def load_model(
    config: Config | str | Path,
    checkpoint: str | Path | None = None,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> BaseModel:
    """The config's model in eval mode, with the weights of ``checkpoint``, which must fit key by key.

    Without a checkpoint the weights are those of the config's initialisation; with ``seed`` they are drawn from
    it, and the global generator is left as it was.
    """
    config = load_config(config, cfg_options)
    device = to_device(device)
    if checkpoint is not None:  # which replaces all weights: those that the run began with may be gone
        config = without_pretrained(config)
    with DefaultScope.overwrite_default_scope('mimselfsup'), _seeded(seed):
        model = MODELS.build(config.model)
        with _quiet():
            model.init_weights()
    if checkpoint is not None:
        surplus = load_weights(model, checkpoint).left_out
        if surplus:
            raise ValueError(
                f'checkpoint {checkpoint} has weights that the config has no place for ({len(surplus)}, such as '
                f'{surplus[0]}); is it the config of this run?'
            )
    return model.to(device).eval()


def to_device(name: torch.device | str) -> torch.device:
    """Raises ValueError for a device that is not here."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'device {name}: not available here ({str(error).splitlines()[0]})') from error
    return device


def without_pretrained(config: Config) -> Config:
    """The config with every ``init_cfg`` of type Pretrained removed: its model starts from random weights."""
    config = copy.deepcopy(config)
    _strip(config.model)
    return config


def _strip(node: Any) -> None:
    if isinstance(node, list | tuple):
        for child in node:
            _strip(child)
    elif isinstance(node, dict):
        init = node.get('init_cfg')
        if init:
            kept = [each for each in (init if isinstance(init, list) else [init]) if each['type'] != 'Pretrained']
            node['init_cfg'] = (kept if isinstance(init, list) else init) if kept else None
        for child in node.values():
            _strip(child)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MMEngine's line per parameter on how it was initialised."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
