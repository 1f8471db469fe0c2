"""Files of weights: what is in them, and writing them whole or not at all."""

import contextlib
import json
import os
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from mimselfsup.engine.checkpoint import (
    BrokenCheckpointError,
    CheckpointError,
    read_checkpoint,
    write_atomically,
    write_checkpoint,
)
from mimselfsup.models.backbones import MaskedViT
from mimselfsup.models.backbones.masked_vit import POSITION_RESIZES

from .huggingface import facts_of_config
from .literals import read_literals

# Under which the codes keep their weights; '' is a file of nothing else.
TABLES = ('state_dict', 'model', 'model_state', 'module', 'teacher', 'student')
SAFETENSORS = '.safetensors'
METADATA = 'mimselfsup'
_OF_A_FOLDER = ('model.safetensors', 'pytorch_model.bin')


@dataclass
class SavedFile:
    """What a file holds.

    Attributes:
        tables: names to tensors, by the key of the table; names without the 'module.' of data parallel training.
        entries: what else is in it, such as 'optimizer' and 'epoch'.
        arguments: the command line that it was trained with, where that is saved.
        facts: what it says of its backbone and of pixels that shapes do not.
    """

    path: str
    tables: dict[str, dict[str, Tensor]]
    entries: list[str] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> dict[str, Tensor]:
        """A copy of the only table, or of the first that is no student's or teacher's."""
        for key, table in self.tables.items():
            if key not in ('teacher', 'student') or len(self.tables) == 1:
                return dict(table)
        return {}


def read_file(path: str | os.PathLike, trusted: bool = False) -> SavedFile:
    """A ``.safetensors`` file, any file of ``torch.save``, or a folder that transformers' models are saved in.

    Raises FileNotFoundError, and CheckpointError as :func:`~mimselfsup.engine.checkpoint.read_checkpoint` does or
    where there are no weights.
    """
    source = Path(path).expanduser()
    facts: dict[str, Any] = {}
    if source.is_dir():
        source, facts = _in_folder(source)
    if source.suffix == SAFETENSORS:
        tables, facts = _read_safetensors(source, facts)
        return SavedFile(str(path), tables, facts=_checked(facts))
    # yacs's configs, in SimMIM's files, are dicts of another name.
    with torch.serialization.safe_globals([(OrderedDict, 'yacs.config.CfgNode')]):
        content = read_checkpoint(source, trusted=trusted)
    if not isinstance(content, Mapping):
        raise CheckpointError(f'checkpoint {path} holds no table of weights but a {type(content).__name__}')
    tables = {key: table for key in TABLES if (table := _tensors(content.get(key)))}
    if not tables:
        tables = {'': _tensors(content)}
        if not tables['']:
            raise CheckpointError(
                f'checkpoint {path} holds no table of weights; its entries are {", ".join(map(str, content))}'
            )
    bare = '' in tables
    entries = [str(key) for key in content if key not in tables and not (bare and isinstance(content[key], Tensor))]
    meta = content.get('meta')
    if isinstance(meta, Mapping):
        facts |= _facts_of_meta(meta)
    arguments = content.get('args')
    return SavedFile(
        str(path), tables, entries, vars(arguments) if isinstance(arguments, Namespace) else {}, _checked(facts)
    )


def _in_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    for name in _OF_A_FOLDER:
        if (folder / name).is_file():
            config = folder / 'config.json'
            facts = facts_of_config(json.loads(config.read_text())) if config.is_file() else {}
            return folder / name, facts
    raise FileNotFoundError(f'folder {folder} has no {" and no ".join(_OF_A_FOLDER)}; give a file')


def _read_safetensors(path: Path, facts: dict[str, Any]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        tensors = load_file(path)
        with safetensors.safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise BrokenCheckpointError(f'checkpoint {path} is torn or no safetensors file: {error}') from error
    with contextlib.suppress(ValueError, AttributeError):  # another program's note under our name
        facts = facts | _facts_of_meta(json.loads(metadata.get(METADATA, '{}')))
    return {'': _without_module(tensors)}, facts


def _tensors(table: Any) -> dict[str, Tensor]:
    if not isinstance(table, Mapping):
        return {}
    tensors = {key: value for key, value in table.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return _without_module(tensors)


def _without_module(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix('module.'): value for name, value in tensors.items()}


def _facts_of_meta(meta: Mapping) -> dict[str, Any]:
    """Of our own files: what a conversion noted, or what the config of a training run says."""
    config = read_literals(meta.get('config_text') or '')
    model = config.get('model', {}) if isinstance(config.get('model', {}), dict) else {}
    backbone = meta.get('backbone') or model.get('backbone') or {}
    preprocessor = model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    if not isinstance(backbone, Mapping) or not isinstance(preprocessor, Mapping):
        return {}
    arch = backbone.get('arch')
    if isinstance(arch, str):
        arch = MaskedViT.arch_zoo.get(arch) if 'Swin' not in str(backbone.get('type')) else None
    norm = backbone.get('norm_cfg')
    facts = dict(
        img_size=backbone.get('img_size'),
        position_resize=backbone.get('position_resize'),
        num_heads=arch.get('num_heads') if isinstance(arch, Mapping) else None,
        eps=norm.get('eps') if isinstance(norm, Mapping) else None,
        pixel_mean=meta.get('pixel_mean') or preprocessor.get('mean'),
        pixel_std=meta.get('pixel_std') or preprocessor.get('std'),
    )
    return {name: value for name, value in facts.items() if value is not None}


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Only what has the type that it should have."""

    def are(value: Any, kinds: type | tuple[type, ...], *lengths: int) -> bool:
        return isinstance(value, list | tuple) and len(value) in lengths and all(isinstance(x, kinds) for x in value)

    number = (int, float)
    right = dict(
        num_heads=lambda value: isinstance(value, int) and value > 0,
        img_size=lambda value: isinstance(value, int) or are(value, int, 2),
        position_resize=lambda value: value in POSITION_RESIZES,
        eps=lambda value: isinstance(value, float),
        pixel_mean=lambda value: are(value, number, 3),
        pixel_std=lambda value: are(value, number, 3),
    )
    return {name: value for name, value in facts.items() if name in right and right[name](value)}


def write_weights(path: str | os.PathLike, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], table: str) -> None:
    """``.safetensors``, or a file of ``torch.save`` with the tensors under the key ``table`` ('' for nothing but them).

    ``meta`` is noted in both, in the latter only beside a table. A kill at any instant leaves what stood there.
    """
    path = Path(path)
    if path.suffix == SAFETENSORS:
        whole = {name: value.detach().contiguous() for name, value in tensors.items()}
        data = to_bytes(whole, {'format': 'pt', METADATA: json.dumps(meta)})
        write_atomically(path, lambda file: file.write(data))
        return
    write_checkpoint({table: dict(tensors), 'meta': dict(meta)} if table else dict(tensors), path)


def write_folder(folder: str | os.PathLike, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """As transformers saves models: model.safetensors and config.json, the latter last."""
    folder = Path(folder)
    write_weights(folder / _OF_A_FOLDER[0], tensors, {}, '')
    text = json.dumps(config, indent=2, sort_keys=True) + '\n'
    write_atomically(folder / 'config.json', lambda file: file.write(text.encode()))
