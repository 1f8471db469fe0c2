"""Label maps: pictures of one channel, whose values are numbers of classes or objects."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

VOID = 255  # of VOC and DAVIS: pixels that belong to nothing, such as the rims of VOC's objects


def read_label_map(path: str | os.PathLike) -> np.ndarray:
    """(H, W) uint8; of a picture with a palette the indices, not the colours.

    Raises ValueError for what is no readable picture of one channel of at most 8 bits.
    """
    try:
        with Image.open(path) as picture:
            mode, labels = picture.mode, np.asarray(picture)
    except Exception as error:  # Pillow raises many kinds for a broken file
        raise ValueError(f'{path}: no readable label map ({" ".join(str(error).split())})') from error
    if mode not in ('P', 'L', '1'):
        raise ValueError(
            f'{path}: a picture of mode {mode}, label maps have one channel of 8 bits (P or L) that holds numbers, '
            f'not colours'
        )
    return labels.astype(np.uint8)


def wrong_labels(labels: np.ndarray, num_classes: int, first: int, kind: str = '') -> str:
    """What to say of values that are no class; '' if there are none. Classes begin at ``first``: at 1, if 0 is void."""
    wrong = labels[(labels != VOID) & (labels >= first + num_classes)]
    if not wrong.size:
        return ''
    return (
        f'has pixels of value {wrong.max()}; label maps of {num_classes} classes{f" ({kind})" if kind else ""} have '
        f'{first} to {first + num_classes - 1}, and {VOID}{" or 0" if first else ""} for void'
    )


def resize_label_map(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """To ``size`` (H, W): each pixel takes the label at its centre."""
    height, width = size
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))


def encode_label_map(labels: np.ndarray) -> bytes:
    """(H, W) uint8 -> a PNG of these indices, with DAVIS's palette."""
    picture = Image.fromarray(labels).convert('L')
    picture.putpalette(davis_palette())
    buffer = io.BytesIO()
    picture.save(buffer, 'PNG')
    return buffer.getvalue()


def write_label_map(path: str | os.PathLike, labels: np.ndarray) -> None:
    Path(path).write_bytes(encode_label_map(labels))


def davis_palette() -> list[int]:
    """256 colours, RGB one after another.

    The first 22 are VOC's, made of the bits of the index (the lowest bit of each channel counts 128, the next 64), but
    for 191 in place of 192; the others are grey.
    """
    colours = np.arange(256).repeat(3).reshape(256, 3)
    for index in range(22):
        bits = [index >> place & 1 for place in range(6)]
        colours[index] = [min(128 * bits[channel] + 64 * bits[channel + 3], 191) for channel in range(3)]
    return colours.flatten().tolist()
