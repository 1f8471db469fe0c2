"""A model card as one page of HTML that needs nothing but itself: no network, no script, no other file."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from .card_template import STYLE, TEMPLATE
from .charts import Series, bars, curves, legend, nice_ticks
from .curves import COLOURS

NUMBER = re.compile(r'(-?\d+(?:\.\d+)?)(?: \+- (\d+(?:\.\d+)?))?')
NUMBERED = re.compile(r'([^\d]*?)(\d+(?:\.\d+)?)([^\d]*)')  # a column that is one of many: 'k-NN 20', '5 shots'
LEAST_OF_A_CURVE = 4  # such columns; fewer are bars
MOST_PANELS = 4  # of bars; the table above has the others
NARROW, SHORT = 7, 24  # columns, and letters of a name, of a table that leaves room for a chart beside it
THUMBNAIL = 96  # pixels
JPEG_QUALITY = 85


def card_page(card: Mapping[str, Any], attention: Mapping[str, Any]) -> str:
    """The page of what ``make_card`` measured; ``attention`` holds pictures as data URIs, ``inputs`` and per model."""
    names = [model['name'] for model in card['models']]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters['thumbnail'] = thumbnail_uri
    environment.filters['breakable'] = lambda label: escape(label).replace('_', Markup('_<wbr>'))
    return environment.from_string(TEMPLATE).render(
        card=card,
        style=Markup(STYLE + _colours()),
        names=names,
        looks={name: f'c{place % len(COLOURS)}' for place, name in enumerate(names)},
        sections=[_section(name, entry, names) for name, entry in card['protocols'].items()],
        summary=_summary(card['summary'], names),
        hits=_hits(card['neighbours']),
        attention=attention,
    )


def owner_of(first_cell: str, names: Sequence[str]) -> str:
    """The model that a row of a table is about: one of ``names``, or the baseline without its number of seeds."""
    for name in sorted(names, key=len, reverse=True):
        if first_cell == name or first_cell.startswith(f'{name} ('):
            return name
    return re.sub(r' \(\d+ seeds\)$', '', first_cell)


def number_of(cell: str) -> tuple[float | None, float | None]:
    """Value and spread of a cell of a table, None for what is no number."""
    found = NUMBER.fullmatch(cell)
    if not found:
        return None, None
    return float(found[1]), None if found[2] is None else float(found[2])


# ------------------------------------------------------------------------------------------------ numbers


def _summary(headlines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The table at the top: of every protocol one cell per model, the best checkpoints marked.

    A baseline that belongs to some checkpoints alone stands in their cells, below their own numbers.
    """
    shared = dict.fromkeys(
        who for each in headlines for who in each['values'] if who not in names and who not in each['owners']
    )
    rows = []
    for each in headlines:
        values, owners = each['values'], each['owners']
        best = max((number_of(values[name])[0] for name in names if name in values), default=None)
        cells = []
        for who in [*names, *shared]:
            text = values.get(who, '')
            below = [f'{kind.split(" of ")[0]} {_text(values[kind])}' for kind, of in owners.items() if who in of]
            cells.append(
                dict(
                    text=_text(text) or '-',
                    below=below if text else [],
                    best=bool(text) and len(names) > 1 and who in names and number_of(text)[0] == best,
                )
            )
        rows.append(dict(protocol=each['protocol'], column=each['column'], cells=cells))
    return dict(rows=rows, shared=list(shared))


def _text(cell: str) -> str:
    return cell.replace('+-', '±')


def _section(name: str, entry: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    tables = []
    for table in entry['tables']:
        lines = _lines(table, names)
        marked = [
            dict(cells=[_text(cell) for cell in row], look=look, baseline=owner_of(row[0], names) not in names)
            for row, look in zip(table['rows'], lines.colours, strict=True)
        ]
        charts, keys = _charts(table['title'], lines, names, entry['chance'])
        notes = [_text(note) for note in table['notes']]
        narrow = len(table['header']) <= NARROW and max(len(row[0]) for row in table['rows']) <= SHORT
        beside = len(charts) == 1 and narrow
        drawn = dict(charts=charts, legend=keys, beside=beside)
        tables.append(dict(table, notes=notes, marked=marked, worded=lines.worded, **drawn))
    return dict(entry, name=name, tables=tables)


def _looks(rows: Sequence[Sequence[str]], names: Sequence[str]) -> list[tuple[str, str]]:
    """Classes of style: a colour for each checkpoint, a grey for each kind of baseline, dashed for a second of that
    kind; and which row of the model it is."""
    seen: dict[str, int] = {}
    kinds: dict[str, list[str]] = {}
    looks = []
    for row in rows:
        who = owner_of(row[0], names)
        variant = seen[who] = seen.get(who, -1) + 1
        if who in names:
            colour = f'c{names.index(who) % len(COLOURS)}'
        else:
            kind = kinds.setdefault(who.split(' of ')[0], [])
            if who not in kind:
                kind.append(who)
            colour = f'b{list(kinds.values()).index(kind) % 3} d{kind.index(who) % 4}'
        looks.append((colour, f'v{variant % 4}'))
    return looks


@dataclass(frozen=True)
class _Lines:
    """The rows of a table, read for charts: numbers, and the ``words`` that say which row of a model it is."""

    header: Sequence[str]
    numeric: list[int]  # columns
    worded: list[int]
    names: list[str]
    words: list[tuple[str, ...]]
    colours: list[str]
    variants: list[str]
    cells: Sequence[Sequence[str]]

    def series(self, row: int, columns: Sequence[int], label: str, look: str) -> Series:
        texts = [self.cells[row][at] for at in columns]
        values, spreads = zip(*map(number_of, texts), strict=True)
        return Series(label, look, values, spreads, [_text(text) for text in texts])


def _lines(table: Mapping[str, Any], names: Sequence[str]) -> _Lines:
    header, rows = table['header'], table['rows']
    columns = range(1, len(header))
    # A column with an empty cell is a setting that was chosen for some rows, no score.
    numeric = [
        at for at in columns if all(row[at] for row in rows) and any(number_of(row[at])[0] is not None for row in rows)
    ]
    worded = [at for at in columns if not any(re.match(r'-?\d[\d.e-]*(?: [(+]|$)|$', row[at]) for row in rows)]
    telling = [at for at in worded if len({row[at] for row in rows if owner_of(row[0], names) in names}) > 1]
    looks = _looks(rows, names)
    return _Lines(
        header,
        numeric,
        worded,
        [row[0] for row in rows],
        [tuple(row[at] for at in telling) for row in rows],
        [colour for colour, _ in looks],
        [variant for _, variant in looks],
        rows,
    )


def _charts(title: str, lines: _Lines, names: Sequence[str], chance: float | None) -> tuple[list[Markup], Markup]:
    """Curves where columns are one quantity at many numbers, a panel for each kind of row; bars of the first others.

    With them what their colours mean, which bars say themselves.
    """
    mark = chance if isinstance(chance, int | float) else None
    runs = _runs(lines.header, lines.numeric)
    drawn = []
    every = range(len(lines.names))
    kinds = list(dict.fromkeys(lines.words[row] for row in every if owner_of(lines.names[row], names) in names))
    for columns in runs:
        before, xs, after = zip(*(_numbered(lines.header[at]) for at in columns), strict=True)
        unit = ' '.join(filter(None, (before[0], after[-1])))
        for kind in kinds:
            series = [
                lines.series(row, columns, lines.names[row], lines.colours[row])
                for row in every
                if _fits(lines.words[row], kind, kinds)
            ]
            drawn.append(curves(', '.join((title, *kind)), unit, xs, series, mark))
    looks = dict(zip(lines.names, lines.colours, strict=True)) if drawn else {}
    in_curves = [column for columns in runs for column in columns]
    for column in [column for column in lines.numeric if column not in in_curves][:MOST_PANELS]:
        series = [
            lines.series(
                row,
                [column],
                ' · '.join((owner_of(lines.names[row], names), *lines.words[row])),
                f'{lines.colours[row]} {lines.variants[row]}',
            )
            for row in every
        ]
        drawn.append(_bar_panel(lines.header[column], series, mark))
    return drawn, legend(looks, '' if mark is None else 'chance') if drawn else Markup('')


def _fits(words: Sequence[str], kind: Sequence[str], kinds: Sequence[Sequence[str]]) -> bool:
    """Whether a row belongs to the panel of ``kind``, by its words; those that no checkpoint has fit everywhere."""
    return all(
        word == own or word not in {each[at] for each in kinds}
        for at, (word, own) in enumerate(zip(words, kind, strict=True))
    )


def _numbered(title: str) -> tuple[str, float, str] | None:
    """'k-NN 20' -> ('k-NN', 20, ''), '5 shots' -> ('', 5, 'shots'); None without one number."""
    found = NUMBERED.fullmatch(title)
    return found and (found[1].strip(), float(found[2]), found[3].strip())


def _runs(header: Sequence[str], numeric: Sequence[int]) -> list[list[int]]:
    """Columns beside each other that are one quantity at rising numbers, in lists long enough for a curve."""
    runs: list[list[int]] = []
    last = None
    for column in numeric:
        here = _numbered(header[column])
        if here and last and _quantity(here) == _quantity(last) and here[1] > last[1] and runs[-1][-1] == column - 1:
            runs[-1].append(column)
        elif here:
            runs.append([column])
        last = here
    return [run for run in runs if len(run) >= LEAST_OF_A_CURVE]


def _quantity(numbered: tuple[str, float, str]) -> tuple[str, str]:
    return numbered[0], numbered[2].removesuffix('s')  # 1 shot, 5 shots


def _bar_panel(title: str, series: Sequence[Series], mark: float | None) -> Markup:
    if title.startswith('top-5') or 'gap' in title.lower():
        mark = None  # chance is of one guess
    ends = [0.0, mark or 0.0]
    for each in series:
        (value,), (spread,) = each.values, each.spreads
        if value is not None:
            ends += [value - (spread or 0), value + (spread or 0)]
    ticks = nice_ticks(min(ends), max(ends))
    return bars(title, series, ticks[0], ticks[-1], mark)


# ------------------------------------------------------------------------------------------------ pictures


def _hits(neighbours: Mapping[str, Any]) -> dict[str, str]:
    """Of each model: how many of the neighbours shown are of the class of their query."""
    hits = {}
    for name, found in neighbours.get('models', {}).items():
        shown = [each['correct'] for row in found['rows'] for each in row]
        hits[name] = f'{sum(shown)} of {len(shown)}'
    return hits


def picture_uri(picture: np.ndarray) -> str:
    """(H, W, 3) in [0, 1] -> a JPEG as data URI."""
    return _uri(Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8)))


def thumbnail_uri(path: str) -> str:
    """The middle square of a file, at most 96 px wide; a grey one where the file is gone or broken."""
    try:
        with Image.open(path) as image:
            picture = image.convert('RGB')
    except OSError:
        picture = Image.new('RGB', (8, 8), (200, 200, 200))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    if side > THUMBNAIL:
        picture = picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return _uri(picture)


def _uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format='JPEG', quality=JPEG_QUALITY)
    return f'data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}'


def _colours() -> str:
    return ''.join(f'.c{place}{{--c:{colour}}}' for place, colour in enumerate(COLOURS))
