"""The model card: any number of checkpoints through a list of protocols, side by side, in one file and one page.

The work is cut into parts, one per protocol and checkpoint, and each is written as soon as it is there, under a name
that says all that it depends on. A run that was killed goes on, a checkpoint whose content has changed is measured
anew, and what random weights and raw pixels reach is measured once for all checkpoints of one model.
"""

import dataclasses
import datetime
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mimselfsup
from mimselfsup.engine.launch import is_user_error
from mimselfsup.evaluation.cache import code_hash, file_hash
from mimselfsup.evaluation.data import default_data_root, eval_pipeline, missing_splits
from mimselfsup.registry import MODELS
from mimselfsup.visualization.card import card_page, number_of, owner_of

from .card_pictures import CardPictures, check_number
from .card_readings import READINGS
from .model import load_config, to_device
from .protocol import Table
from .protocols import PROTOCOLS, check_names, read_entries

PRETRAINED = 'pre-trained'  # what protocols call the row of the checkpoint
NO_MODELS = (PRETRAINED, 'random init', 'raw pixels', 'whole picture', 'even attention', 'first mask')  # other rows
OWN_BASELINES = ('masked',)  # where random weights see what the checkpoint has chosen
NOT_IN_KEY = ('cache', 'progress')  # options that change no number
HEADLINES: dict[str, str | None] = {  # the column for the table at the top, where it is not the first with numbers
    'knn': 'k-NN 20',
    'fewshot': '5 shots',
    'logreg': 'lambda 0.1',
    'masked': '0.5',
    'backgrounds': 'mixed_rand',
    'attention-distance': None,  # more is not better
}
PACKAGES = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'numpy', 'pillow')


@dataclass(frozen=True)
class CardModel:
    name: str
    config: str | Path
    checkpoint: str | Path


@dataclass(frozen=True)
class _Subject:
    """A checkpoint with all that its numbers depend on."""

    name: str
    config: Config
    checkpoint: str
    digest: str  # of the content of the file
    settings: dict[str, Any]  # of the model and of the view it is shown


class Parts:
    """``folder/<name>-<hash of key>.json``, each there as a whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str, key: Mapping[str, Any]) -> Path:
        text = json.dumps(key, sort_keys=True, default=str)
        return self.folder / f'{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json'

    def load(self, name: str, key: Mapping[str, Any]) -> Any | None:
        try:
            stored = json.loads(self.path(name, key).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return None
        return stored['content'] if stored['key'] == _plain(key) else None

    def save(self, name: str, key: Mapping[str, Any], content: Any) -> Any:
        """``content`` as :meth:`load` will give it: with the keys of JSON, which are strings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = _plain(content)
        write_whole(self.path(name, key), json.dumps(dict(key=_plain(key), content=content), indent=1))
        return content


def write_whole(path: Path, text: str) -> None:
    """Under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        draft.write_text(text, encoding='utf-8')
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def make_card(
    models: Sequence[CardModel],
    out: str | Path,
    options: Mapping[str, Mapping[str, Any]],
    roots: Mapping[str, str | Path],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
    pictures: int = 6,
    title: str = '',
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measures what is missing below ``out``, then writes ``out/card.json`` and ``out/card.html``; returns the former.

    Args:
        options: the protocols, in the order of the page, with the keywords that each ``run`` gets.
        roots: of each protocol, the folder it reads.
        seeds: of random initialisations; empty for no such baseline.
        pictures: how many query pictures are shown with their neighbours and with attention; 0 for none.
        say: gets a line for each part.

    What a protocol refuses, such as a backbone without attention, stands under ``failed`` of that protocol, and the
    others go on. Raises ValueError for models that cannot be read at all.
    """
    out = Path(out)
    names = check_names(list(options))
    for name in names:
        if not roots[name] or not Path(roots[name]).is_dir():
            raise ValueError(
                f'{name}: no folder {roots[name] or "of data is known"}; it reads {PROTOCOLS[name].layout}'
            )
    check_number(pictures)
    subjects = [_subject(model, cfg_options) for model in _check_models(models)]
    device = to_device(device)
    settings = dict(batch_size=batch_size, workers=workers, device=device)
    parts = Parts(out / 'parts')
    begun = time.time()
    protocols = {
        name: _measure(parts, name, options[name], roots[name], subjects, seeds, settings, f'{at}/{len(names)}', say)
        for at, name in enumerate(names, start=1)
    }
    shown = _pictures(parts, roots, subjects, protocols, seeds, settings, pictures, say) if pictures else {}
    card = _plain(
        dict(
            title=title or 'Model card',
            made=datetime.datetime.now().astimezone().isoformat(timespec='minutes'),
            seconds=round(time.time() - begun, 1),
            models=[_describe(subject) for subject in subjects],
            protocols=protocols,
            summary=[each for name in names if (each := _headline(name, protocols[name], subjects))],
            neighbours=shown.get('neighbours', {}),
            seeds=list(seeds),
            versions=_versions(device),
        )
    )
    write_whole(out / 'card.json', json.dumps(card, indent=1) + '\n')
    write_whole(out / 'card.html', card_page(card, shown.get('attention', {})))
    return card


def usual_data(models: Sequence[CardModel], cfg_options: Mapping[str, Any] | None = None) -> str | None:
    """The folder that all configs train on; None if they name none. Raises ValueError if they differ."""
    found = {default_data_root(load_config(model.config, cfg_options)) for model in models}
    if len(found) > 1:
        raise ValueError(f'the configs name different data ({", ".join(sorted(map(str, found)))}); give --data ROOT')
    return found.pop()


# ------------------------------------------------------------------------------------------------ subjects


def _check_models(models: Sequence[CardModel]) -> Sequence[CardModel]:
    if not models:
        raise ValueError('no checkpoint: give CONFIG CKPT, or --model NAME CONFIG CKPT once for each')
    for place, model in enumerate(models):
        if not model.name.strip() or model.name in NO_MODELS:
            raise ValueError(f'--model {model.name!r}: is the name of a baseline, or none; give it another')
        if model.name in [each.name for each in models[:place]]:
            raise ValueError(f'--model {model.name}: two checkpoints of this name; give each its own')
        if not Path(model.checkpoint).is_file():
            raise ValueError(f'checkpoint {model.checkpoint}: no such file')
    return models


def _subject(model: CardModel, cfg_options: Mapping[str, Any] | None) -> _Subject:
    config = load_config(model.config, cfg_options)
    settings = _plain(dict(model=config.model.to_dict(), view=eval_pipeline(config)))
    return _Subject(model.name, config, str(model.checkpoint), file_hash(model.checkpoint), settings)


def _describe(subject: _Subject) -> dict[str, Any]:
    backbone = subject.config.model.backbone
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        parameters = sum(each.numel() for each in MODELS.build(backbone).parameters())
    size = backbone.get('img_size', 224)
    return dict(
        name=subject.name,
        config=str(subject.config.filename),
        checkpoint=subject.checkpoint,
        sha256=subject.digest,
        method=str(subject.config.model.type).rpartition('.')[2],
        backbone=str(backbone.type).rpartition('.')[2],
        parameters=parameters,
        image_size=[size, size] if isinstance(size, int) else list(size),
    )


def _versions(device: torch.device) -> dict[str, str]:
    found = dict(mimselfsup=mimselfsup.__version__, python=platform.python_version())
    for package in PACKAGES:
        found[package.removeprefix('onedl-')] = importlib.metadata.version(package)
    found['device'] = torch.cuda.get_device_name(device) if device.type == 'cuda' else str(device)
    return found


# ------------------------------------------------------------------------------------------------ protocols


def _measure(
    parts: Parts,
    name: str,
    options: Mapping[str, Any],
    root: str | Path,
    subjects: Sequence[_Subject],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    place: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One protocol for all checkpoints, and the tables of that."""
    protocol = PROTOCOLS[name]
    shared = dict(
        protocol=name,
        options=_plain({key: value for key, value in options.items() if key not in NOT_IN_KEY}),
        files=_contents(options.values()),
        root=str(root),
        data=folder_hash(root, read_entries(protocol, root)),
        code=_code_of(protocol.run),
    )
    reports: dict[str, dict] = {}
    baselines: dict[str, list[dict]] = {}  # of each subject: what stands beside it
    failed: dict[str, str] = {}
    for subject in subjects:
        own_key = dict(shared, model=subject.settings, checkpoint=subject.digest)
        base_key = dict(shared, model=subject.settings, seeds=list(seeds))
        if name in OWN_BASELINES:
            base_key['checkpoint'] = subject.digest
        report, base = parts.load(name, own_key), parts.load(f'{name}-baselines', base_key)
        line = f'[{place}] {name}, {subject.name}: '
        if report is not None and base is not None:
            say(line + 'measured before')
        else:
            start = time.time()
            try:
                full = protocol.run(
                    subject.config,
                    subject.checkpoint,
                    root,
                    seeds=tuple(seeds) if base is None else (),
                    **settings,
                    **options,
                )
            except Exception as error:
                if os.environ.get('MIMSELFSUP_DEBUG') == '1' or not is_user_error(error, before_training=True):
                    raise
                failed[subject.name] = ' '.join(str(error.args[0] if error.args else error).split())
                say(line + failed[subject.name])
                continue
            if base is None:
                others = [row for row in full['rows'] if row['model'] != PRETRAINED]
                base = parts.save(f'{name}-baselines', base_key, others)
            own = [row for row in full['rows'] if row['model'] == PRETRAINED]
            seconds = time.time() - start
            report = parts.save(name, own_key, dict(full, rows=own, seconds=round(seconds, 1)))
            say(line + f'{seconds:.1f} s')
        reports[subject.name], baselines[subject.name] = report, base
    tables: list[Table] = []
    owners: dict[str, list[str]] = {}
    if reports:
        first = next(iter(reports.values()))
        rows, owners = _side_by_side(reports, baselines)
        tables = protocol.tables(dict(first, rows=rows))
    return dict(
        summary=protocol.summary,
        reading=READINGS.get(name, ''),
        options=shared['options'],
        root=str(root),
        layout=protocol.layout,
        tables=[dataclasses.asdict(table) for table in tables],
        chance=next(iter(reports.values())).get('data', {}).get('chance') if reports else None,
        reports=reports,
        baselines=baselines,
        owners=owners,
        failed=failed,
    )


def _side_by_side(
    reports: Mapping[str, dict], baselines: Mapping[str, list[dict]]
) -> tuple[list[dict], dict[str, list[str]]]:
    """The rows of all checkpoints under their names, then the baselines, each once.

    One that differs between models is named after those it belongs to, which are told besides, under that name.
    """
    rows = [dict(row, model=name) for name, report in reports.items() for row in report['rows']]
    found: dict[str, list[str]] = {}
    for name, own in baselines.items():
        for row in own:
            found.setdefault(json.dumps(row, sort_keys=True), []).append(name)
    owners = {}
    kinds = list(dict.fromkeys(json.loads(text)['model'] for text in found))
    for text, names in sorted(found.items(), key=lambda item: kinds.index(json.loads(item[0])['model'])):
        row = json.loads(text)
        if len(names) < len(baselines):
            row['model'] += f' of {", ".join(names)}'
            owners[row['model']] = names
        rows.append(row)
    return rows, owners


def _headline(name: str, entry: Mapping[str, Any], subjects: Sequence[_Subject]) -> dict[str, Any] | None:
    """One column of a protocol for the table at the top, and of each row's name the best value in it."""
    if not entry['tables'] or HEADLINES.get(name, '') is None:
        return None
    table = entry['tables'][0]
    numbers = [[number_of(cell)[0] for cell in row] for row in table['rows']]
    numeric = [at for at in range(1, len(table['header'])) if any(row[at] is not None for row in numbers)]
    if not numeric:
        return None
    wanted = [at for at in numeric if table['header'][at] == HEADLINES.get(name)]
    column = (wanted or numeric)[0]
    best: dict[str, tuple[float, str]] = {}
    for row, values in zip(table['rows'], numbers, strict=True):
        value, who = values[column], owner_of(row[0], [subject.name for subject in subjects])
        if value is not None and (who not in best or value > best[who][0]):
            best[who] = value, row[column]
    values = {who: text for who, (_, text) in best.items()}
    owners = {who: names for who, names in entry['owners'].items() if who in values}
    return dict(protocol=name, column=table['header'][column], values=values, owners=owners)


def folder_hash(root: str | Path, entries: Sequence[str]) -> str:
    """Of name, size and time of change of all files at or below ``entries`` of ``root``."""
    digest = hashlib.sha256()
    for entry in entries:
        top = Path(root) / entry
        files = [top] if top.is_file() else sorted(_files_below(top))
        for path in files:
            status = os.stat(path)
            digest.update(repr((os.path.relpath(path, root), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _files_below(folder: str | Path) -> list[str]:
    return [os.path.join(at, name) for at, _, names in os.walk(folder, followlinks=True) for name in names]


def _contents(options: Iterable[Any]) -> list[str]:
    """Hashes of those options, or their members, that are files."""
    flat = [each for value in options for each in (value if isinstance(value, list | tuple) else [value])]
    return [file_hash(each) for each in flat if isinstance(each, str | os.PathLike) and os.path.isfile(each)]


def _code_of(run: Callable) -> str:
    """Of what computes features, and of the file that makes rows of them."""
    return code_hash() + file_hash(inspect.getfile(inspect.unwrap(run)))


# ------------------------------------------------------------------------------------------------ pictures


def _pictures(
    parts: Parts,
    roots: Mapping[str, str | Path],
    subjects: Sequence[_Subject],
    protocols: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    number: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """What each model takes for the neighbours of some pictures, and where it looks on them."""
    root = next((roots[name] for name in protocols if not missing_splits(roots[name])), None)
    if root is None:
        return {}
    shared = dict(root=str(root), data=folder_hash(root, ['train', 'val']), number=number, code=_code_of(CardPictures))
    neighbours: dict[str, Any] = {}
    attention: dict[str, Any] = {}

    def add(name: str, key: Mapping[str, Any], make: Callable[[CardPictures], dict], config: Config) -> None:
        found = parts.load('pictures', key)
        if found is None:
            start = time.time()
            found = parts.save('pictures', key, make(CardPictures(config, root, number, **settings)))
            say(f'[pictures] {name}: {time.time() - start:.1f} s')
        else:
            say(f'[pictures] {name}: made before')
        neighbours.setdefault('queries', found['queries'])
        neighbours.setdefault('gallery', found['gallery'])
        neighbours.setdefault('models', {})[name] = found['neighbours']
        if found['attention']:
            attention.setdefault('inputs', found['inputs'])
            attention.setdefault('models', {})[name] = found['attention']

    for subject in subjects:
        feature = _best_feature(protocols.get('knn', {}).get('reports', {}).get(subject.name))
        key = dict(shared, model=subject.settings, checkpoint=subject.digest, feature=feature)
        add(
            subject.name,
            key,
            lambda pictures, subject=subject, feature=feature: pictures.of_checkpoint(subject.checkpoint, feature),
            subject.config,
        )
    first = subjects[0]
    if seeds:
        key = dict(shared, model=first.settings, seed=seeds[0])
        others = any(subject.settings != first.settings for subject in subjects)
        add(
            f'random init of {first.name}' if others else 'random init',
            key,
            lambda pictures: pictures.of_random_init(seeds[0]),
            first.config,
        )
    add(
        'raw pixels',
        dict(shared, model=first.settings, pixels=True),
        lambda pictures: pictures.of_pixels(),
        first.config,
    )
    return dict(neighbours=neighbours, attention=attention)


def _best_feature(report: Mapping[str, Any] | None) -> str | None:
    """Of a k-NN report: the kind of feature that did best; None where there is none."""
    if not report:
        return None
    return max(report['rows'], key=lambda row: max(each['top1'] for each in row['knn'].values()))['feature']
