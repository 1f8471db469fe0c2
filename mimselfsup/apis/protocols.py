"""All frozen-feature protocols: what ``tools/evaluate.py`` and the model card can be asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from . import (
    attention,
    attention_distance,
    backgrounds,
    clustering,
    copy_detection,
    fewshot,
    knn,
    linear,
    linear_scan,
    masked,
    retrieval,
    video_segmentation,
)
from .evaluate import PROTOCOLS as IN_ONE_TABLE
from .evaluate import format_table
from .protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        knn.PROTOCOL,
        fewshot.PROTOCOL,
        linear.PROTOCOL,
        linear.LOGREG,
        linear_scan.PROTOCOL,
        clustering.PROTOCOL,
        masked.PROTOCOL,
        backgrounds.PROTOCOL,
        retrieval.PROTOCOL,
        copy_detection.PROTOCOL,
        video_segmentation.PROTOCOL,
        attention.PROTOCOL,
        attention_distance.PROTOCOL,
    )
}


def has_data(protocol: Protocol, root: str | Path) -> bool:
    """Whether ``root``, as :func:`usual_root` gives it, looks like the protocol's, as far as names tell."""
    root = Path(root)
    if not root.is_dir():
        return False
    if protocol.subfolder and root.name == Path(protocol.subfolder).name:
        return True
    return any(all(any(root.glob(entry)) for entry in entries) for entries in protocol.reads)


def read_entries(protocol: Protocol, root: str | Path) -> list[str]:
    """What of ``root`` the protocol may read: '' for all, where the folder is its own."""
    if protocol.subfolder:
        return ['']
    found = [entry for entries in protocol.reads for entry in entries if any(Path(root).glob(entry))]
    return list(dict.fromkeys(found)) or ['']


def check_names(names: Sequence[str]) -> list[str]:
    """``names``, each once. Raises ValueError for none and for what is no protocol."""
    for name in names:
        if name not in PROTOCOLS:
            raise ValueError(f'protocol {name!r}: must be one of {", ".join(PROTOCOLS)}')
    if not names:
        raise ValueError(f'no protocol: name one or more of {", ".join(PROTOCOLS)}')
    return list(dict.fromkeys(names))


def read_roots(data: str | Path | None, data_for: Sequence[str], names: Sequence[str]) -> dict[str, str | Path | None]:
    """{protocol: its folder}: of ``data_for`` ('knn=DIR'), else its usual folder below ``data``, else ``data``."""
    own = {}
    for word in data_for:
        name, equals, folder = word.partition('=')
        if not equals or not folder:
            raise ValueError(f'--data-for {word}: must be PROTOCOL=ROOT')
        if name not in names:
            raise ValueError(f'--data-for {word}: {name} is not asked for; asked for: {", ".join(names)}')
        own[name] = folder
    return {name: own.get(name) or usual_root(PROTOCOLS[name], data) for name in names}


def usual_root(protocol: Protocol, data: str | Path | None) -> str | Path | None:
    """``data``, or the folder below it that a world keeps for this protocol."""
    if data and protocol.subfolder and (Path(data) / protocol.subfolder).is_dir():
        return Path(data) / protocol.subfolder
    return data


def usual_protocols(data: str | Path | None, data_for: Sequence[str] = ()) -> list[str]:
    """Those whose data are there. Raises ValueError if there are none."""
    own = [word.partition('=')[0] for word in data_for]
    names = [
        name
        for name, protocol in PROTOCOLS.items()
        if name in own or (data and has_data(protocol, usual_root(protocol, data)))
    ]
    if not names:
        raise ValueError(
            f'{data or "no --data ROOT"}: has the data of no protocol; '
            + '; '.join(f'{name}: {protocol.layout}' for name, protocol in PROTOCOLS.items())
        )
    return names


def run_protocols(
    config: Config | str | Path,
    checkpoint: str | Path,
    options: Mapping[str, Mapping[str, Any]],
    roots: Mapping[str, str | Path | None],
    **common: Any,
) -> tuple[dict[str, Any], list[str]]:
    """What ``tools/evaluate.py`` writes and prints, for the protocols that are the keys of ``options``.

    k-NN and linear probe are one table and the top of the report; each other protocol's report stands under its name.
    """
    if len({str(roots[name]) for name in options if name in IN_ONE_TABLE}) > 1:
        raise ValueError(f'{" and ".join(IN_ONE_TABLE)} are one table, so they must read the same folder')
    reports = {
        name: PROTOCOLS[name].run(config, checkpoint, roots[name], **common, **own) for name, own in options.items()
    }
    top = {name: reports.pop(name) for name in IN_ONE_TABLE if name in reports}
    texts = []
    if len(top) > 1:
        merged = _in_one(top)
        texts.append(format_table(merged))
    else:
        merged = next(iter(top.values()), {})
        texts += [str(table) for name, report in top.items() for table in PROTOCOLS[name].tables(report)]
    texts += [str(table) for name, report in reports.items() for table in PROTOCOLS[name].tables(report)]
    return {**merged, **reports}, texts


def _in_one(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of reports on the same models and features: one, whose rows have the numbers of all."""
    first, *others = reports.values()
    rows = [dict(row) for row in first['rows']]
    settings = dict(first['settings'])
    for other in others:
        settings |= other['settings']
        for row, more in zip(rows, other['rows'], strict=True):
            row |= more
    return dict(first, settings=settings, rows=rows, protocols=list(reports))
