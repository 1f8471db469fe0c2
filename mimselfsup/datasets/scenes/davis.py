"""Clips in the layout of DAVIS 2017: one to three objects move over a background that a camera pans across.

The light changes on the way: if it did not, pixels alone would do to find the objects again.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..davis import FRAMES, LISTS, OBJECTS
from ..label_maps import encode_label_map
from .source import Source

CLIPS = 8
LENGTH = 20  # frames
WIDTH = 854 / 480  # of a frame, whose height is the size of a scene
LIGHT = (0.6, 1.4)  # factor of a colour channel, at either end of the clip
PAN = 0.15  # how much wider the background is than what the camera sees of it
SIDE = (0.35, 0.55)  # nominal side of an object, as a share of the height
PATH = (0.15, 0.5)  # length of an object's way, as a share of the width
TURN = 60.0  # degrees over the whole clip, at most, to either side
SMALLEST = 0.7  # scale at either end of the clip; the largest is 1
SEEN_FIRST = 0.7  # share of an object that is visible in the first frame, which says what is to be followed
SEEN = 0.3  # in the middle and at the end
ATTEMPTS = 40


@dataclass(eq=False)
class _Moving:
    """``rgba`` float32 in [0, 1], its colours multiplied by alpha; places of its centre, (x, y) in pixels."""

    rgba: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    turn: float
    scales: tuple[float, float]

    def at(self, time: float, size: tuple[int, int]) -> np.ndarray:
        """A layer of ``size`` (H, W) with the object as it is at ``time``, from 0 to 1."""
        height, width = self.rgba.shape[:2]
        scale = self.scales[0] + time * (self.scales[1] - self.scales[0])
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), time * self.turn, scale)
        matrix[:, 2] += self.start + time * (self.stop - self.start) - ((width - 1) / 2, (height - 1) / 2)
        return cv2.warpAffine(self.rgba, matrix, size[::-1], flags=cv2.INTER_LINEAR)


def write_davis(root: Path, source: Source) -> None:
    """A val split of 8 clips of 20 frames, as high as a scene; objects are those of val. Object 1 of a clip is the one
    farthest back."""
    names = [f'clip_{number:02d}' for number in range(CLIPS)]
    for number, name in enumerate(names):
        for folder in (root / FRAMES / name, root / OBJECTS / name):
            folder.mkdir(parents=True)
        _write_clip(root, name, source, np.random.default_rng([source.seed, *b'davis', number]))
    (root / LISTS).mkdir(parents=True)
    (root / LISTS / 'val.txt').write_text(''.join(f'{name}\n' for name in names))


def _write_clip(root: Path, name: str, source: Source, rng: np.random.Generator) -> None:
    size = source.size, round(WIDTH * source.size)
    wide = round((1 + PAN) * size[1])
    background = source.backgrounds.draw('val', wide, rng)
    room = np.array([wide - size[0], wide - size[1]])  # the background is square
    middle = room[0] / 2 + rng.uniform(-0.5, 0.5, 2) * PAN * size[0]
    offsets = np.stack([middle, rng.permutation([0, room[1]])], 1)  # from the first frame to the last
    lights = rng.uniform(*LIGHT, (2, 3))
    moving: list[_Moving] = []
    for _ in range(int(rng.integers(1, 4))):
        moving = _with_another(moving, source, size, rng)
    for index, time in enumerate(np.linspace(0, 1, LENGTH)):
        top, left = (offsets[0] + time * (offsets[1] - offsets[0])).round().astype(int)
        frame = background[top : top + size[0], left : left + size[1]].astype(np.float32)
        objects = np.zeros(size, np.uint8)
        for number, each in enumerate(moving, 1):
            layer = each.at(time, size)
            frame = frame * (1 - layer[..., 3:]) + 255 * layer[..., :3]
            objects[layer[..., 3] >= 0.5] = number
        frame *= lights[0] + time * (lights[1] - lights[0])
        bgr = cv2.cvtColor(frame.round().clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        (root / FRAMES / name / f'{index:05d}.jpg').write_bytes(encoded.tobytes())
        (root / OBJECTS / name / f'{index:05d}.png').write_bytes(encode_label_map(objects))


def _with_another(
    moving: list[_Moving], source: Source, size: tuple[int, int], rng: np.random.Generator
) -> list[_Moving]:
    """With an object in front, if one is found that hides none too much; the first always is."""
    for _ in range(ATTEMPTS):
        candidate = [*moving, _draw(source, size, rng)]
        if not moving or _followed(candidate, size):
            return candidate
    return moving


def _draw(source: Source, size: tuple[int, int], rng: np.random.Generator) -> _Moving:
    label = int(rng.integers(len(source.objects.classes)))
    drawn = source.objects.draw('val', label, max(round(rng.uniform(*SIDE) * size[0]), 3), rng)
    rgba = drawn.astype(np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    rgba = np.pad(rgba, ((1, 1), (1, 1), (0, 0)))  # so that its border fades out when it is turned
    low, high = np.array([0.15, 0.28]), np.array([0.85, 0.72])  # of width and height; nearly all of it stays inside
    extent = np.array([size[1], size[0]])
    while True:
        start, stop = rng.uniform(low, high, (2, 2)) * extent
        if PATH[0] <= np.linalg.norm(stop - start) / size[1] <= PATH[1]:
            break
    scales = float(rng.uniform(SMALLEST, 1)), float(rng.uniform(SMALLEST, 1))
    return _Moving(rgba, start, stop, float(rng.uniform(-TURN, TURN)), scales)


def _followed(moving: list[_Moving], size: tuple[int, int]) -> bool:
    for time, least in ((0.0, SEEN_FIRST), (0.5, SEEN), (1.0, SEEN)):
        solid = [each.at(time, size)[..., 3] >= 0.5 for each in moving]
        for depth, mask in enumerate(solid):
            hidden = np.any(solid[depth + 1 :], axis=0) & mask if depth + 1 < len(solid) else np.zeros_like(mask)
            if (mask & ~hidden).sum() < max(least * mask.sum(), 1):
                return False
    return True
