"""Places seen again: a retrieval set in the layout of revisited Oxford and Paris."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .source import Source

NAME = 'rtoy'
PLACES = 10
QUERIES, EASY, HARD, JUNK = 2, 5, 5, 3  # views of each place
RIVALS = 6  # per place: its background with another landmark, so that colours alone find the wrong picture
OTHERS = 50  # pictures of places of their own

CANVAS = 3.0  # side of a place, in sides of a picture
LANDMARK = 0.6  # of the object that makes the place, likewise
QUALITY = 95
ATTEMPTS = 200
_STREAM = 101  # keeps these random numbers apart from those of the scenes


@dataclass(frozen=True)
class Place:
    """``canvas`` RGB uint8 (C, C, 3), larger than any view; ``landmark`` (n, 2): x and y of the pixels of the object in
    its middle."""

    canvas: np.ndarray
    landmark: np.ndarray


@dataclass(frozen=True)
class Kind:
    """How views of a kind are taken: ranges to draw from, and the share of the landmark that must be in sight."""

    zoom: tuple[
        tuple[float, float], ...
    ]  # pixels of the view per pixel of the place; several ranges are equally likely
    turn: float  # degrees to either side, at most
    tilt: float  # of the perspective, to either side; 0.3: the near edge is about twice as large as the far one
    shift: float  # of the centre, in sides of a picture
    light: float  # 0: as drawn; 1: as different as day and night
    seen: tuple[float, float]
    hidden: float = 0.0  # how often something stands in front of it


QUERY = Kind(zoom=((0.9, 1.2),), turn=5, tilt=0.03, shift=0.06, light=0.1, seen=(0.98, 1))
KINDS = dict(
    easy=Kind(zoom=((0.8, 1.2),), turn=12, tilt=0.1, shift=0.15, light=0.3, seen=(0.9, 1)),
    hard=Kind(zoom=((0.5, 0.7), (1.4, 1.8)), turn=40, tilt=0.3, shift=0.3, light=1, seen=(0.5, 1), hidden=0.5),
    junk=Kind(zoom=((0.8, 1.3),), turn=15, tilt=0.1, shift=0.8, light=0.3, seen=(0.05, 0.3)),
)


def write_retrieval(root: Path, source: Source) -> None:
    """``rtoy/jpg/*.jpg`` and ``rtoy/gnd_rtoy.pkl``: 10 places, 20 queries and 240 other pictures.

    A place is an object with smaller ones around it on a background wider than a picture. Easy positives are views of
    it like the query; hard ones are near or far, turned, tilted, in another light or half hidden; in junk most of the
    object is out of sight. What is negative: the same background with another object, and other places. Pictures are
    JPEGs whatever the world's are: the layout has no others. Their longer side is that of a scene, 4:3 or 3:4.
    """
    folder = root / NAME
    (folder / 'jpg').mkdir(parents=True)
    images: list[str] = []
    queries: list[str] = []
    truths: list[dict[str, list]] = []
    for number in range(PLACES):
        rng = np.random.default_rng([source.seed, _STREAM, number])
        background = _background(source, rng)
        place = build_place(source, background, number, rng)
        found: dict[str, list] = {}
        for kind, count in dict(easy=EASY, hard=HARD, junk=JUNK).items():
            found[kind] = list(range(len(images), len(images) + count))
            for _ in range(count):
                name = f'place{number:02d}_{len(images):06d}'
                _write(folder / 'jpg', name, take_view(place, KINDS[kind], source, rng)[0])
                images.append(name)
        for rival in range(RIVALS):
            name = f'place{number:02d}_{len(images):06d}'
            other = build_place(source, background, number + 1 + rival, rng)
            _write(folder / 'jpg', name, take_view(other, KINDS['easy'], source, rng)[0])
            images.append(name)
        for query in range(QUERIES):
            name = f'place{number:02d}_query{query}'
            view, box = take_view(place, QUERY, source, rng)
            _write(folder / 'jpg', name, view)
            queries.append(name)
            truths.append(dict(bbx=box, **found))
    for number in range(OTHERS):
        rng = np.random.default_rng([source.seed, _STREAM, PLACES + number])
        name = f'other_{len(images):06d}'
        place = build_place(source, _background(source, rng), number, rng)
        _write(folder / 'jpg', name, take_view(place, KINDS['easy'], source, rng)[0])
        images.append(name)
    content = dict(imlist=images, qimlist=queries, gnd=truths)
    (folder / f'gnd_{NAME}.pkl').write_bytes(pickle.dumps(content, protocol=2))


def _background(source: Source, rng: np.random.Generator) -> np.ndarray:
    return source.backgrounds.draw('val', round(CANVAS * source.size), rng)


def build_place(source: Source, background: np.ndarray, label: int, rng: np.random.Generator) -> Place:
    """A landmark in the middle, before two or three smaller objects. ``label`` counts through the classes."""
    canvas = background.astype(np.float32)
    classes = len(source.objects.classes)
    middle = len(canvas) / 2
    for _ in range(int(rng.integers(2, 4))):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 0.6) * source.size
        side = round(rng.uniform(0.2, 0.35) * source.size)
        companion = source.objects.draw('val', int(rng.integers(classes)), max(side, 3), rng)
        _paste(canvas, companion, middle + distance * np.cos(angle), middle + distance * np.sin(angle))
    landmark = source.objects.draw('val', label % classes, max(round(LANDMARK * source.size), 3), rng)
    solid = _paste(canvas, landmark, middle, middle)
    return Place(canvas.round().astype(np.uint8), np.argwhere(solid)[:, ::-1].astype(np.float64))


def _paste(canvas: np.ndarray, rgba: np.ndarray, x: float, y: float) -> np.ndarray:
    """Lays an object over ``canvas`` (H, W, 3), in place, its middle at (x, y), cut off at the border; bool (H, W):
    where it is."""
    height, width = rgba.shape[:2]
    top, left = round(y - height / 2), round(x - width / 2)
    rows = slice(max(top, 0), max(min(top + height, canvas.shape[0]), 0))
    columns = slice(max(left, 0), max(min(left + width, canvas.shape[1]), 0))
    piece = rgba[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    opacity = piece[..., 3:].astype(np.float32) / 255
    canvas[rows, columns] += opacity * (piece[..., :3] - canvas[rows, columns])
    solid = np.zeros(canvas.shape[:2], bool)
    solid[rows, columns] = piece[..., 3] >= 128
    return solid


def take_view(place: Place, kind: Kind, source: Source, rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
    """A picture, RGB uint8, and the box of the landmark in it: left, top, right, bottom. Viewpoints are drawn until
    one has the landmark in sight as much as the kind wants; after 200 the one nearest to it is taken."""
    long, short = source.size, round(0.75 * source.size)
    size = (long, short) if rng.random() < 0.5 else (short, long)  # width, height
    best = None
    for _ in range(ATTEMPTS):
        to_place = _viewpoint(kind, size, len(place.canvas), source.size, rng)
        at = _project(np.linalg.inv(to_place), place.landmark)
        inside = ((at >= 0) & (at < size)).all(1)
        screen = None
        if rng.random() < kind.hidden:
            screen = _screen(source, size, rng)
            columns, rows = at[inside].astype(int).T
            inside[inside] = ~screen[0][rows, columns]
        miss = max(kind.seen[0] - inside.mean(), inside.mean() - kind.seen[1])
        if best is None or miss < best[0]:
            best = miss, to_place, at[inside], screen
        if miss <= 0:
            break
    _, to_place, at, screen = best
    view = _render(place.canvas, to_place, size)
    if screen is not None:
        view += screen[1][..., 3:] / np.float32(255) * (screen[1][..., :3] - view)
    box = [0.0, 0.0, *map(float, size)] if not len(at) else [*at.min(0), *np.minimum(at.max(0) + 1, size)]
    return relit(view, kind.light, rng), [float(side) for side in box]


def _viewpoint(kind: Kind, size: tuple[int, int], canvas: int, unit: int, rng: np.random.Generator) -> np.ndarray:
    """3 x 3, from pixels of the view to pixels of the place."""
    zoom = rng.uniform(*kind.zoom[rng.integers(len(kind.zoom))])
    turn = np.deg2rad(rng.uniform(-kind.turn, kind.turn))
    across, along = rng.uniform(-kind.tilt, kind.tilt, 2)
    centre = canvas / 2 + rng.uniform(-kind.shift, kind.shift, 2) * unit
    width, height = size
    to_middle = np.array([(1, 0, -width / 2), (0, 1, -height / 2), (0, 0, 1)])
    tilted = np.array([(1, 0, 0), (0, 1, 0), (2 * across / width, 2 * along / height, 1)])
    cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
    turned = np.array([(cos, -sin, centre[0]), (sin, cos, centre[1]), (0, 0, 1)])
    return turned @ tilted @ to_middle


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 2) through a homography."""
    x, y, w = matrix @ np.stack([*points.T, np.ones(len(points))])
    return np.stack([x / w, y / w], axis=1)


def _render(canvas: np.ndarray, to_place: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 (height, width, 3), sampled twice as finely and reduced, against aliasing from afar."""
    fine = to_place @ np.array([(0.5, 0, -0.25), (0, 0.5, -0.25), (0, 0, 1)])  # pixel centres stay where they are
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    double = (2 * size[0], 2 * size[1])
    warped = cv2.warpPerspective(canvas, fine, double, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(warped.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _screen(source: Source, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An object that stands between: where it is, bool (height, width), and itself, RGBA (height, width, 4)."""
    label = int(rng.integers(len(source.objects.classes)))
    rgba = source.objects.draw('val', label, max(round(rng.uniform(0.25, 0.45) * source.size), 3), rng)
    layer = np.zeros((size[1], size[0], 4), np.float32)
    solid = _paste(layer[..., :3], rgba, rng.uniform(0, size[0]), rng.uniform(0, size[1]))
    layer[..., :3] = np.where(solid[..., None], layer[..., :3], 0)
    layer[..., 3] = 255.0 * solid
    return solid, layer


def relit(view: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """RGB uint8 of float values 0 to 255: another exposure, a cast of colour, some of it blurred and grainy."""
    values = (view / 255).clip(0, 1) ** np.exp(rng.uniform(-0.7, 0.7) * light)
    values = values * np.exp(rng.uniform(-0.35, 0.35, 3) * light)
    grey = values.mean(-1, keepdims=True)
    values = grey + (1 - 0.7 * light * rng.random()) * (values - grey)
    if rng.random() < light / 2:
        values = cv2.GaussianBlur(values, (0, 0), max(0.01 * len(view), 0.4))
    values = values + rng.normal(0, 0.03 * light, values.shape)
    return (255 * values).clip(0, 255).round().astype(np.uint8)


def _write(folder: Path, name: str, rgb: np.ndarray) -> None:
    write_jpeg(folder / f'{name}.jpg', rgb, QUALITY)


def write_jpeg(path: Path, rgb: np.ndarray, quality: int) -> None:
    code = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    path.write_bytes(code.tobytes())
