"""From a file of any family to a backbone of ours, with an account of every tensor."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mimselfsup.engine.checkpoint import CheckpointError, load_weights
from mimselfsup.registry import MODELS

from . import swin, vit
from .architecture import resnet_config, swin_config, vit_config
from .draft import NETWORKS, Draft
from .families import FAMILIES
from .files import SavedFile, read_file
from .huggingface import from_transformers
from .names import shortened
from .torchvision import TORCHVISION

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_Translation = Callable[[dict[str, Tensor]], tuple[dict[str, Tensor], list[str]]]


@dataclass(frozen=True)
class Layout:
    """Names of one kind of network. ``marker``: one that only it has."""

    marker: str
    to_ours: _Translation
    config: Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]]
    settle: Callable[[dict[str, Tensor], Mapping[str, Any]], dict[str, Tensor]] = vit.settled


def _same(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    return dict(state), []


def _as_it_is(state: dict[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
    return state


LAYOUTS = (
    Layout('blocks.0.norm1.weight', vit.TIMM.to_ours, vit_config),
    Layout('layers.0.blocks.0.norm1.weight', swin.from_authors, swin_config, swin.settled),
    Layout('layers.0.ln1.weight', vit.OWN.to_ours, vit_config),
    Layout('stages.0.blocks.0.norm1.weight', swin.OWN.to_ours, swin_config, swin.settled),
    Layout('encoder.layer.0.layernorm_before.weight', from_transformers, vit_config),
    Layout('layers.0.layernorm_before.weight', from_transformers, vit_config),
    Layout('encoder.layers.encoder_layer_0.ln_1.weight', TORCHVISION.to_ours, vit_config),
    Layout('layer1.0.conv1.weight', _same, resnet_config, _as_it_is),
)
_TABLES = ('relative_position_index', 'attn_mask')  # ends of names
_CLASSIFIERS = ('head.', 'head_dist.', 'fc.', 'classifier.', 'heads.', 'pooler.dense.')


@dataclass
class Conversion:
    """A backbone, in eval mode, and where it comes from.

    Attributes:
        family: of the file; a key of ``FAMILIES``.
        network: 'teacher' or 'student' where the file has both.
        config: builds the backbone.
        others: further weights that our modules have: ``decoder.*``, ``projector.*``.
        num_read: tensors of the file that are in the backbone or in ``others``.
        resized: names, in ours, of positions that were resized to the image size asked for.
        left_out: name in the file -> why.
        entries: what the file holds besides weights.
        pixel_mean, pixel_std: what pixels, 0 to 255 RGB, are normalised with.
        pixels_from: what says so: 'the file', the family, or 'ImageNet, by default'.
    """

    path: str
    family: str
    network: str | None
    backbone: nn.Module
    config: dict[str, Any]
    others: dict[str, Tensor]
    num_read: int
    resized: list[str]
    left_out: dict[str, str]
    entries: list[str] = field(default_factory=list)
    pixel_mean: tuple[float, ...] = IMAGENET_MEAN
    pixel_std: tuple[float, ...] = IMAGENET_STD
    pixels_from: str = 'ImageNet, by default'

    def __str__(self) -> str:
        network = f', its {self.network}' if self.network else ''
        lines = [f'recognised: {self.family}{network}', f'converted: {self.num_read} tensors']
        lines.append(f'backbone: {_settings(self.config)}')
        if self.others:
            lines.append(f'besides the backbone: {", ".join(shortened(self.others))}')
        statistics = ' / '.join(', '.join(f'{x:g}' for x in values) for values in (self.pixel_mean, self.pixel_std))
        lines.append(f'pixels: mean / std {statistics} ({self.pixels_from})')
        lines.append(f'resized: {", ".join(self.resized) or "nothing"}')
        lines += left_out_lines(self.left_out)
        if self.entries:
            lines.append(f'not weights: {", ".join(self.entries)}')
        return '\n'.join(lines)


def convert(
    path: str | os.PathLike,
    source: str = 'auto',
    network: str | None = None,
    *,
    num_heads: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    allow_unknown: Sequence[str] = (),
    trusted: bool = False,
) -> Conversion:
    """Reads a checkpoint of any family.

    Args:
        path: a file of ``torch.save`` or safetensors, or a folder of transformers'.
        source: a key of ``FAMILIES``; 'auto' tells by the names in the file.
        network: 'teacher' or 'student', where there are both; by default what its paper evaluates.
        num_heads: where neither file nor shapes say it.
        img_size: absolute positions are resized for it; by default the one they are for.
        allow_unknown: beginnings of names, as in the file, that may be left out without being known.
        trusted: unpickles without restriction.

    Raises CheckpointError, listing the names, for a file that is not recognised and for names that have no place: the
    network would be another one without them.
    """
    file = read_file(path, trusted)
    family = _family(file, source)
    if network is not None and network not in NETWORKS:
        raise ValueError(f'network={network!r}, must be one of {", ".join(NETWORKS)}')
    draft = family.read(file, network)
    if network is not None and draft.network is None:
        raise ValueError(f'checkpoint {path}: {family.name} has one network there, no {network} to choose')
    layout = _layout(file, draft, family.name)
    facts = draft.facts | file.facts
    asked = dict(num_heads=num_heads, img_size=img_size)
    facts |= {name: value for name, value in asked.items() if value is not None}

    owner = f'checkpoint {path}, taken for {family.name}'
    state = _translated(draft, layout, owner, allow_unknown)
    try:
        state = layout.settle(state, facts)
        if vit.has_own_tables(state) and state.pop('mask_token', None) is not None:
            draft.left_out[f'{draft.prefix}mask_token'] = 'RelativeViT is not for pre-training'
        config = layout.config(state, facts)
    except CheckpointError as error:
        raise CheckpointError(f'checkpoint {path}: {error}') from error
    except KeyError as error:
        names = shortened(f'{draft.prefix}{name}' for name in draft.backbone)
        raise CheckpointError(f'{owner}: {error.args[0]} is missing; it has {", ".join(names)}') from error
    backbone, resized = _filled(config, state, str(path))
    both = draft.network is not None and all(network in file.tables for network in NETWORKS)
    used = NETWORKS if both else (next(iter(file.tables)),)
    return Conversion(
        path=str(path),
        family=family.name,
        network=draft.network,
        backbone=backbone,
        config=config,
        others=draft.others,
        num_read=sum(len(file.tables[key]) for key in used) - len(draft.left_out),
        resized=resized,
        left_out=draft.left_out,
        entries=[*file.entries, *(key for key in file.tables if key not in used)],
        **_pixels(file.facts, draft.facts, family.name),
    )


def _pixels(of_file: Mapping[str, Any], of_family: Mapping[str, Any], family: str) -> dict[str, Any]:
    for facts, source in ((of_file, 'the file'), (of_family, f'as of {family}')):
        if 'pixel_mean' in facts and 'pixel_std' in facts:
            mean, std = tuple(facts['pixel_mean']), tuple(facts['pixel_std'])
            return dict(pixel_mean=mean, pixel_std=std, pixels_from=source)
    return {}


def _family(file: SavedFile, source: str):
    if source != 'auto':
        if source not in FAMILIES:
            raise ValueError(f'source={source!r}, must be auto or one of {", ".join(FAMILIES)}')
        return FAMILIES[source]
    for family in FAMILIES.values():
        if family.recognises(file):
            return family
    raise CheckpointError(f'checkpoint {file.path} is not recognised; {_contents(file)}')


def _contents(file: SavedFile) -> str:
    tables = [
        f'its names{f" under {key!r}" if key else ""} are {", ".join(shortened(table))}'
        for key, table in file.tables.items()
    ]
    return '; '.join(tables)


def _layout(file: SavedFile, draft: Draft, family: str) -> Layout:
    for layout in LAYOUTS:
        if layout.marker in draft.backbone:
            return layout
    raise CheckpointError(
        f'checkpoint {file.path}, taken for {family}, has no backbone that we know (a vision transformer, a Swin or a '
        f'ResNet); {_contents(file)}'
    )


def _translated(draft: Draft, layout: Layout, owner: str, allow_unknown: Sequence[str]) -> dict[str, Tensor]:
    """The backbone in our names. Raises CheckpointError for names that are unknown and not allowed to be."""
    state, unknown = layout.to_ours(_without_known(draft))
    refused = []
    for name in (f'{draft.prefix}{name}' for name in unknown):
        if name.startswith(tuple(allow_unknown)):
            draft.left_out[name] = 'unknown, and allowed to be'
        else:
            refused.append(name)
    if refused:
        raise CheckpointError(
            f'{owner}, has weights that are unknown ({len(refused)}): {", ".join(shortened(refused))}; without them it '
            f'would be another network. If it would not, allow them (--allow-unknown, in Python allow_unknown=)'
        )
    return state


def _without_known(draft: Draft) -> dict[str, Tensor]:
    """The backbone's names without what it can do without."""
    rest = {}
    for name, value in draft.backbone.items():
        if name.endswith(_TABLES):
            draft.left_out[f'{draft.prefix}{name}'] = 'an index table, which is computed'
        elif name.startswith(_CLASSIFIERS):
            draft.left_out[f'{draft.prefix}{name}'] = 'head of another task'
        else:
            rest[name] = value
    return rest


def _filled(config: dict[str, Any], state: dict[str, Tensor], path: str) -> tuple[nn.Module, list[str]]:
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        backbone = MODELS.build(config)
    own = backbone.state_dict()
    state = state | {name: own[name] for name in own if name.endswith('relative_position_index')}
    try:
        # A Swin has a mask token in any case.
        report = load_weights(backbone, state, allow_missing=('mask_token',))
    except CheckpointError as error:
        raise CheckpointError(f'checkpoint {path}: {error}') from error
    if report.left_out:
        raise CheckpointError(
            f'checkpoint {path}: {config["type"]} has no place for {", ".join(shortened(report.left_out))}'
        )
    return backbone.eval(), report.resized


def left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    """One line per reason, or one that says that nothing was left out."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name)
    if not by_reason:
        return ['left out: nothing']
    return [f'left out, {reason}: {", ".join(shortened(names))}' for reason, names in by_reason.items()]


def _settings(config: Mapping[str, Any]) -> str:
    settings = ', '.join(f'{name}={value!r}' for name, value in config.items() if name != 'type')
    return f'{config["type"]}({settings})'
