"""Reads any ordinary picture file as three 8-bit colour channels, or says in one line why it cannot."""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from mimselfsup.registry import TRANSFORMS

# What is decoded, whatever the file is called. The list is closed on purpose: Pillow also knows formats whose
# readers start other programs (EPS).
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF')
_KNOWN_BEGINNINGS = {
    b'\xff\xd8\xff': 'JPEG',
    b'\x89PNG\r\n\x1a\n': 'PNG',
    b'BM': 'BMP',
    b'II*\0': 'TIFF',
    b'MM\0*': 'TIFF',
    b'II+\0': 'TIFF',
    b'MM\0+': 'TIFF',
    b'GIF8': 'GIF',
    b'RIFF': 'WebP',
}
_END_OF_JPEG = b'\xff\xd9'

MAX_PIXELS = 178_956_970  # where Pillow by itself begins to refuse; 0.5 GB in memory
MAX_ASPECT = 100.0


class BrokenImage(ValueError):
    """A file that does not give a whole picture. ``path`` names it, ``reason`` says why, in one line."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'{self.path}: {self.reason}'


class _NoPictureError(Exception):
    """The reason alone, raised where the path is not known."""


def read_image(
    path: str | os.PathLike,
    color_order: str = 'bgr',
    max_pixels: int = MAX_PIXELS,
    max_aspect: float = MAX_ASPECT,
) -> np.ndarray:
    """The picture as (H, W, 3) uint8, upright (EXIF orientation applied).

    - By content, not by name: JPEG, PNG, WebP, BMP, TIFF, GIF; of several frames or pages the first.
    - Transparent pixels are laid over white.
    - 16 bits per channel: the high byte, which undoes both usual ways of widening 8 bits (times 256 and
      times 257).
    - Floats: [0, 1] is stretched to [0, 255], else [0, 255] is taken as it stands. 32-bit and signed
      integers: [0, 255] as it stands, else [0, 65535] like 16 bits. Any other range has no defined
      white, and is refused.
    - CMYK and YCbCr by formula, L*a*b* through a standard profile. Embedded colour profiles are not applied.

    Raises:
        BrokenImage: the file is missing, unreadable, empty, no picture, cut off (a picture is whole or
            refused: never half grey), has more than ``max_pixels`` pixels, or one side is more than
            ``max_aspect`` times the other (resizing its short side would make it huge).
    """
    path = os.fspath(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            # Opening a named pipe would wait for ever.
            kind = 'a folder' if stat.S_ISDIR(status.st_mode) else 'a device, pipe or socket'
            raise _NoPictureError(f'{kind}, not a file')
        if status.st_size == 0:
            raise _NoPictureError('empty file (0 bytes)')
        with open(path, 'rb') as file, _strict_pillow():
            bgr = _decode(file, max_pixels, max_aspect)
    except _NoPictureError as error:
        raise BrokenImage(path, str(error)) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly everything when the bytes are wrong
        raise BrokenImage(path, _explain(error)) from error
    return bgr if color_order == 'bgr' else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Reads ``results['img_path']`` with :func:`read_image`; sets ``img``, ``img_shape``, ``ori_shape``.

    ``color_order``: 'bgr', which the data preprocessors of OpenMMLab expect, or 'rgb'.
    """

    def __init__(self, color_order: str = 'bgr', max_pixels: int = MAX_PIXELS, max_aspect: float = MAX_ASPECT) -> None:
        if color_order not in ('bgr', 'rgb'):
            raise ValueError(f"LoadImage: color_order={color_order!r}, must be 'bgr' or 'rgb'")
        if max_pixels < 1 or max_aspect < 1:
            raise ValueError(f'LoadImage: max_pixels={max_pixels} and max_aspect={max_aspect} must be at least 1')
        self.color_order = color_order
        self.max_pixels = max_pixels
        self.max_aspect = max_aspect

    def transform(self, results: dict) -> dict:
        image = read_image(results['img_path'], self.color_order, self.max_pixels, self.max_aspect)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'LoadImage(color_order={self.color_order!r}, max_pixels={self.max_pixels}, max_aspect={self.max_aspect})'
        )


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Pillow with its two process-wide switches as needed here: whole files only, and our limit of pixels."""
    saved = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = saved


def _decode(file: BinaryIO, max_pixels: int, max_aspect: float) -> np.ndarray:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        beginning = file.read(16)
        kind = next((kind for magic, kind in _KNOWN_BEGINNINGS.items() if beginning.startswith(magic)), None)
        if kind == 'TIFF':
            return _decode_tiff(file, max_pixels, max_aspect)
        if kind is not None:
            raise _NoPictureError(f'damaged {kind} header') from None
        raise _NoPictureError(f'not an image ({", ".join(FORMATS)}): begins with {beginning!r}') from None
    _check_size(*image.size, max_pixels, max_aspect)
    if image.format == 'TIFF' and image.tag_v2.get(284) == 2 and max(image.tag_v2.get(258, (8,))) > 8:
        return _decode_tiff(file, max_pixels, max_aspect)  # Pillow takes separate 16-bit planes for 8-bit ones
    if image.format == 'JPEG' and image.mode == 'RGB':
        bgr = _decode_rgb_jpeg(file)
        if bgr is not None:
            return _turn_upright(bgr, _orientation(image))
    image.load()
    return _turn_upright(_to_bgr(image), _orientation(image))


def _check_size(width: int, height: int, max_pixels: int, max_aspect: float) -> None:
    if width < 1 or height < 1:
        raise _NoPictureError(f'no pixels: {width} x {height}')
    if width * height > max_pixels:
        raise _NoPictureError(
            f'too large: {width} x {height} is {width * height} pixels, more than max_pixels={max_pixels}'
        )
    if max(width, height) > max_aspect * min(width, height):
        raise _NoPictureError(f'too narrow: {width} x {height} has sides beyond max_aspect={max_aspect:g}')


def _decode_rgb_jpeg(file: BinaryIO) -> np.ndarray | None:
    """The common case. OpenCV gives the same pixels as Pillow, sooner; None sends the file to Pillow.

    Some versions of OpenCV fill what is missing of a cut-off file with grey. Compressed data cannot
    contain the end marker, so a file that ends with it was not cut.
    """
    file.seek(0)
    data = file.read()
    if not data.endswith(_END_OF_JPEG):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def _orientation(image: Image.Image) -> int:
    """EXIF's 1 to 8; 1 where there is none. Pillow turns TIFFs itself and then says 1."""
    try:
        return int(image.getexif().get(274, 1))
    except Exception:  # damaged EXIF data does not make the picture a bad one
        return 1


def _turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    match orientation:
        case 2:
            image = image[:, ::-1]
        case 3:
            image = image[::-1, ::-1]
        case 4:
            image = image[::-1]
        case 5:
            image = image.transpose(1, 0, 2)
        case 6:
            image = np.rot90(image, -1)
        case 7:
            image = image[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            image = np.rot90(image)
    return np.ascontiguousarray(image)


def _to_bgr(image: Image.Image) -> np.ndarray:
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        values = np.asarray(image)
        grey = _to_8_bits(values)
        if image.format == 'TIFF' and image.tag_v2.get(262) == 0:
            grey = 255 - grey  # "white is zero", which Pillow heeds up to 8 bits only
        if image.info.get('transparency') is not None:
            grey[values == image.info['transparency']] = 255
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    if image.mode == 'LAB':
        profiles = ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')
        image = ImageCms.profileToProfile(image, *profiles, outputMode='RGB')
    elif image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return cv2.cvtColor(np.asarray(image.convert('RGB')), cv2.COLOR_RGB2BGR)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """See :func:`read_image` for the rules."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == 'u' and values.dtype.itemsize == 2:
        return (values >> 8).astype(np.uint8)
    low, high = values.min(), values.max()
    if values.dtype.kind == 'f':
        if low >= 0 and high <= 1:
            return np.rint(values * 255).astype(np.uint8)
        if low >= 0 and high <= 255:
            return np.rint(values).astype(np.uint8)
        raise _NoPictureError(f'floats from {low:g} to {high:g}: neither in [0, 1] nor in [0, 255]')
    if low >= 0 and high <= 255:
        return values.astype(np.uint8)
    if low >= 0 and high <= 65535:
        return (values >> 8).astype(np.uint8)
    raise _NoPictureError(f'integers from {low} to {high}: neither in [0, 255] nor in [0, 65535]')


def _decode_tiff(file: BinaryIO, max_pixels: int, max_aspect: float) -> np.ndarray:
    """TIFFs that Pillow does not know or gets wrong: float colour, 64-bit floats, separate 16-bit planes."""
    try:
        import tifffile
    except ImportError:
        raise _NoPictureError('a kind of TIFF that needs the package tifffile (pip install tifffile)') from None
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        file.seek(page.offset)
        (num_tags,) = struct.unpack(tiff.tiff.tagnoformat, file.read(tiff.tiff.tagnosize))
        if len(page.tags) < num_tags:
            raise _NoPictureError('damaged or cut off: TIFF tags missing')  # tifffile would assume defaults
        _check_size(page.imagewidth, page.imagelength, max_pixels, max_aspect)
        ends = [a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends, default=size + 1) > size or 0 in page.databytecounts:
            raise _NoPictureError('damaged or cut off: TIFF data missing')  # tifffile would fill with zeros
        kind = page.photometric.name if page.photometric is not None else 'unknown'
        colours = {'RGB': 3, 'MINISBLACK': 1, 'MINISWHITE': 1}.get(kind, 0)
        if page.axes not in ('YX', 'YXS', 'SYX') or page.samplesperpixel - colours not in (0, 1):
            raise _NoPictureError(
                f'TIFF of kind {kind} with {page.samplesperpixel} samples of {page.dtype}: not understood'
            )
        values = page.asarray(maxworkers=1)
        orientation = page.tags.valueof(274, default=1)
    if page.axes == 'YX':
        values = values[..., None]
    elif page.axes == 'SYX':
        values = values.transpose(1, 2, 0)
    rgb = _to_8_bits(values[..., :colours])
    if kind == 'MINISWHITE':
        rgb = 255 - rgb
    if colours == 1:
        rgb = rgb.repeat(3, axis=2)
    if values.shape[2] > colours:
        alpha = _to_8_bits(values[..., colours:]).astype(np.float32) / 255
        rgb = np.rint(rgb * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return _turn_upright(rgb[..., ::-1], int(orientation))


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return 'no such file'
    if isinstance(error, PermissionError):
        return 'permission denied'
    if isinstance(error, OSError) and error.errno is not None:
        return f'cannot be read: {error.strerror}'
    message = ' '.join(str(error).split())
    if not isinstance(error, OSError | SyntaxError):  # what Pillow raises on purpose; of others the type tells more
        message = f'{type(error).__name__} {message}'
    return f'damaged or cut off: {message}'
