"""Objects followed through clips by the patch tokens of a checkpoint, beside random weights and raw pixels."""

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mimselfsup.datasets.davis import LAYOUT, Clip, read_clips
from mimselfsup.datasets.label_maps import VOID, read_label_map, write_label_map
from mimselfsup.evaluation.data import default_data_root
from mimselfsup.evaluation.label_propagation import Propagation, decide, first_labels, propagate_labels
from mimselfsup.evaluation.video_segmentation import object_scores, over_time

from .model import load_config, load_model, without_pretrained
from .protocol import Protocol, Table, cell, score_with_random_init

SHORT_SIDE = 480 / 224  # as a share of the backbone's image size: DAVIS at 480 px, for networks of 224 px
MULTIPLE = 64  # of the long side at 480 px, in pixels: 854 becomes 832
TOKENS_AT_ONCE = 16384  # of all frames that are encoded together
DEFAULTS = Propagation()
COLUMNS = {
    'j_and_f': 'J&F',
    'j_mean': 'J mean',
    'j_recall': 'J recall',
    'j_decay': 'J decay',
    'f_mean': 'F mean',
    'f_recall': 'F recall',
    'f_decay': 'F decay',
}

Encoder = Callable[[Tensor], Tensor]  # normalised frames (B, 3, H, W) -> (B, h, w, D)


def evaluate_video_segmentation(
    config: Config | str | Path,
    checkpoint: str | Path,
    data_root: str | Path | None = None,
    *,
    short_side: int | None = None,
    last_frames: int = DEFAULTS.last_frames,
    temperature: float = DEFAULTS.temperature,
    radius: int = DEFAULTS.radius,
    top_k: int = DEFAULTS.top_k,
    out_dir: str | Path | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """J and F, in percent, of objects followed through the clips of DAVIS 2017's val split.

    Nothing is trained: the masks of the first frame are handed on from patch to patch, see
    :class:`~mimselfsup.evaluation.label_propagation.Propagation` for the constants. Scores are means over the frames of
    an object, without the first and the last, then over the objects of all clips.

    Args:
        data_root: DAVIS, or a toy world of which ``davis/`` is one; by default the config's data folder.
        short_side: of the frames that the backbone sees, in pixels; by default 480/224 of its image size.
        out_dir: folder for the label maps that the checkpoint predicts, ``<video>/<frame>.png``, as the official
            evaluation reads them.

    ``rows`` hold the checkpoint, random initialisations, patches of raw pixels in place of tokens, and the masks of the
    first frame, left where they are. Those of models hold ``clips``: J and F of each object.
    """
    settings = Propagation(last_frames, temperature, radius, top_k)
    config = load_config(config, cfg_options)
    data_root = data_root or default_data_root(config)
    if not data_root:
        raise ValueError('the config names no data folder (--data ROOT)')
    if not (Path(data_root) / 'ImageSets').is_dir() and (Path(data_root) / 'davis').is_dir():
        data_root = Path(data_root) / 'davis'
    clips = read_clips(data_root)
    short_side = short_side or _short_side(config)
    unsaved = [out_dir] if out_dir else []

    def score(model: BaseModel, encoder: Encoder | None = None) -> dict[str, Any]:
        frames = _Frames(clips, short_side, model.backbone.out_stride)
        # One at a time, as clips differ in size.
        stream = iter(DataLoader(frames, batch_size=None, num_workers=workers))
        folder = unsaved.pop() if unsaved else None  # the checkpoint comes first
        shown = Console(stderr=True)
        bar = track(clips, 'clips', console=shown, transient=True, disable=not shown.is_terminal)
        encode = encoder or (lambda images: tokens_of(model, images))
        return _summary(
            {
                clip.name: _follow(clip, _encoded(clip, stream, model, encode, batch_size), settings, folder)
                for clip in bar
            }
        )

    rows = score_with_random_init(config, checkpoint, score, seeds, device)
    if seeds:
        blank = load_model(without_pretrained(config), device=device, seed=0)  # for its preprocessing alone
        pixels = score(blank, lambda images: pixels_of(images, blank.backbone.out_stride))
        rows.append(dict(model='raw pixels', **pixels))
    rows.append(dict(model='first mask', **_summary({clip.name: _standing_still(clip) for clip in clips})))
    return dict(
        data=dict(
            root=str(data_root),
            clips=len(clips),
            frames=sum(len(clip.frames) for clip in clips),
            objects=sum(len(objects) for objects in rows[0]['clips'].values()),
        ),
        settings=dict(short_side=short_side, **asdict(settings)),
        rows=rows,
    )


def frame_size(original: tuple[int, int], short_side: int, stride: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of a frame that is fed to a backbone whose tokens are ``stride`` (h, w) pixels apart.

    The short side is ``short_side``, the long one keeps the aspect. Each is rounded down to whole tokens, but the long
    one to a multiple of 64 px where that is published: for a short side of 480 and tokens that divide 64.
    """
    scale = short_side / min(original)
    long_axis = int(original[1] >= original[0])
    size = []
    for axis, (side, step) in enumerate(zip(original, stride, strict=True)):
        if axis == long_axis and short_side == 480 and MULTIPLE % step == 0:
            step = MULTIPLE
        size.append(int(side * scale + 1e-6) // step * step)  # the short side is not to become 479.999
    if 0 in size:
        raise ValueError(f'short_side={short_side}: less than a token of {stride[0]} x {stride[1]} pixels')
    return size[0], size[1]


@torch.no_grad()
def tokens_of(model: BaseModel, images: Tensor) -> Tensor:
    """(B, h, w, D): the patch tokens after the final norm."""
    tokens = model.backbone.encode(images)
    return tokens.patches.unflatten(1, tuple(tokens.grid))


def pixels_of(images: Tensor, patch: tuple[int, int]) -> Tensor:
    """(B, h, w, D): the pixels of each patch (h, w)."""
    grid = [side // step for side, step in zip(images.shape[-2:], patch, strict=True)]
    return F.unfold(images, patch, stride=patch).transpose(1, 2).unflatten(1, grid)


def _short_side(config: Config) -> int:
    size = config.model.backbone.get('img_size', 224)
    return round(SHORT_SIDE * (size if isinstance(size, int) else min(size)))


class _Frames(Dataset):
    """All frames of all clips, one after another: uint8 (3, H, W), in OpenCV's order of colours."""

    def __init__(self, clips: Sequence[Clip], short_side: int, stride: tuple[int, int]) -> None:
        self.paths = [path for clip in clips for path in clip.frames]
        self.short_side, self.stride = short_side, stride

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        frame = cv2.imread(str(self.paths[index]))
        if frame is None:
            raise ValueError(f'{self.paths[index]}: no readable picture')
        height, width = frame_size(frame.shape[:2], self.short_side, self.stride)
        resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))


def _encoded(
    clip: Clip, stream: Iterator[Tensor], model: BaseModel, encode: Encoder, batch_size: int
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Of each frame of the clip the tokens (h, w, D), and the size (H, W) at which they were seen."""
    left = len(clip.frames)
    together = 1  # until the first has told how many tokens a frame has
    while left:
        images = torch.stack([next(stream) for _ in range(min(together, left))])
        left -= len(images)
        normalised = model.data_preprocessor(dict(inputs=images, data_samples=None), False)['inputs']
        found = encode(normalised)
        together = max(min(batch_size, TOKENS_AT_ONCE // (found.shape[1] * found.shape[2])), 1)
        for tokens in found:
            yield tokens, tuple(images.shape[-2:])


Scores = list[tuple[np.ndarray, np.ndarray]]  # of each frame that counts: J and F of the objects


def _follow(
    clip: Clip, encoded: Iterator[tuple[Tensor, tuple[int, int]]], settings: Propagation, folder: str | Path | None
) -> Scores:
    first, count = _first_objects(clip)
    tokens, size = next(encoded)

    def features() -> Iterator[Tensor]:
        yield tokens
        for later, _ in encoded:
            yield later

    soft = propagate_labels(features(), first_labels(first, tuple(tokens.shape[:2]), count), settings)
    predicted = (decide(labels, size, first.shape) for labels in soft)
    return _scored(clip, predicted, first, count, folder)


def _standing_still(clip: Clip) -> Scores:
    first, count = _first_objects(clip)
    return _scored(clip, (first for _ in clip.frames[1:]), first, count, None)


def _first_objects(clip: Clip) -> tuple[np.ndarray, int]:
    if len(clip.frames) < 3:
        raise ValueError(f'video {clip.name}: {len(clip.frames)} frames; the first and the last do not count')
    first = _objects(clip.objects[0])
    if not first.any():
        raise ValueError(f'{clip.objects[0]}: there is no object in the first frame of the video')
    return first, int(first.max())


def _objects(path: Path) -> np.ndarray:
    labels = read_label_map(path)
    return np.where(labels == VOID, 0, labels).astype(np.uint8)


def _scored(
    clip: Clip, predicted: Iterator[np.ndarray], first: np.ndarray, count: int, folder: str | Path | None
) -> Scores:
    """``predicted``: label maps from the second frame on. All are written to ``folder``, if there is one."""
    if folder:
        (Path(folder) / clip.name).mkdir(parents=True, exist_ok=True)
        write_label_map(Path(folder) / clip.name / clip.objects[0].name, first)
    scores: Scores = []
    for path, labels in zip(clip.objects[1:], predicted, strict=True):
        if folder:
            write_label_map(Path(folder) / clip.name / path.name, labels)
        if path != clip.objects[-1]:
            scores.append(object_scores(labels, _objects(path), count))
    return scores


def _summary(clips: Mapping[str, Scores]) -> dict[str, Any]:
    """Percent: means over all objects, and J and F of each."""
    found: dict[str, list[float]] = {name: [] for name in COLUMNS if name != 'j_and_f'}
    objects: dict[str, dict[str, Any]] = {}
    for clip, scores in clips.items():
        objects[clip] = {}
        for place in range(len(scores[0][0])):
            each = {}
            for letter, values in zip('jf', zip(*scores, strict=True), strict=True):
                course = over_time([frame[place] for frame in values])
                each[letter] = 100 * course['mean']
                for name, value in course.items():
                    found[f'{letter}_{name}'].append(100 * value)
            objects[clip][str(place + 1)] = each
    means = {name: statistics.fmean(values) for name, values in found.items()}
    return dict(j_and_f=(means['j_mean'] + means['f_mean']) / 2, **means, clips=objects)


def video_tables(report: Mapping[str, Any]) -> list[Table]:
    data, settings = report['data'], report['settings']
    notes = [
        f'{data["root"]}: {data["objects"]} objects in {data["clips"]} clips, {data["frames"]} frames; in %; recall: '
        f'share of frames above 50 %, decay: first quarter less last',
        f'short side {settings["short_side"]} px, first and last {settings["last_frames"]} frames, temperature '
        f'{settings["temperature"]}, {settings["top_k"]} nearest within {settings["radius"]} tokens (0: anywhere)',
    ]
    rows = [[row['model'], *(cell(row, name) for name in COLUMNS)] for row in report['rows']]
    return [Table('Video object segmentation by label propagation', ['', *COLUMNS.values()], rows, notes)]


def _add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--short-side', type=int, metavar='PIXELS', help="of the frames (default: 480/224 of the backbone's image size)"
    )
    group.add_argument(
        '--last-frames',
        type=int,
        default=DEFAULTS.last_frames,
        metavar='N',
        help=f'that hand on labels, besides the first (default: {DEFAULTS.last_frames})',
    )
    group.add_argument(
        '--temperature',
        type=float,
        default=DEFAULTS.temperature,
        help=f'of cosine similarities (default: {DEFAULTS.temperature})',
    )
    group.add_argument(
        '--radius',
        type=int,
        default=DEFAULTS.radius,
        metavar='TOKENS',
        help=f'how far from its place a token is looked for; 0: everywhere (default: {DEFAULTS.radius})',
    )
    group.add_argument(
        '--top-k',
        type=int,
        default=DEFAULTS.top_k,
        metavar='K',
        help=f'tokens that hand on their labels to one (default: {DEFAULTS.top_k})',
    )
    group.add_argument('--out-dir', type=Path, metavar='DIR', help='for the label maps of the checkpoint (PNG)')


PROTOCOL = Protocol(
    name='video-segmentation',
    summary='objects followed through DAVIS 2017 by label propagation',
    run=evaluate_video_segmentation,
    tables=video_tables,
    add_options=_add_options,
    layout=LAYOUT,
    reads=(('JPEGImages/480p', 'Annotations/480p', 'ImageSets/2017/val.txt'),),
    subfolder='davis',
)
