"""Every kind of picture file is either decoded to known colours or refused with a known reason."""

import io
import os
import pickle
import re
import struct
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image, ImageCms, ImageFile

from mimselfsup.datasets import BrokenImage, LoadImage, read_image
from mimselfsup.datasets.transforms import loading

DOCS = Path(__file__).parents[2] / 'docs' / 'data.md'


def quadrants() -> np.ndarray:
    """RGB (32, 48, 3): red, green over blue, yellow; not square and without any symmetry."""
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24], picture[:16, 24:] = (200, 40, 30), (30, 180, 60)
    picture[16:, :24], picture[16:, 24:] = (20, 60, 210), (250, 240, 20)
    return picture


RGB = quadrants()
GREY = np.repeat(RGB[..., :1], 3, axis=2)  # 200, 30 over 20, 250 in three channels
HALF = np.where(np.arange(48) < 24, 255, 0).astype(np.uint8) * np.ones((32, 1), np.uint8)  # opaque left half
OVER_WHITE = np.where(HALF[..., None] == 255, RGB, 255)


def encode(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    pytest.importorskip('tifffile').imwrite(buffer, array, **options)
    return buffer.getvalue()


def png16(rgb: np.ndarray) -> bytes:
    return cv2.imencode('.png', np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A correct PNG of that size up to its data, of which there are a few bytes."""
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + png_chunk(b'IDAT', zlib.compress(bytes(100))) + png_chunk(b'IEND', b'')


def tiff_of_width_0() -> bytes:
    data = encode(RGB, 'TIFF')
    tag = struct.pack('<HHI', 256, 4, 1)  # ImageWidth, a number of 32 bits, one of them
    assert tag + struct.pack('<I', 48) in data
    return data.replace(tag + struct.pack('<I', 48), tag + struct.pack('<I', 0))


def palette(transparent: int | None = None) -> bytes:
    image = Image.fromarray(RGB).quantize(4)
    options = {}
    if transparent is not None:
        options['transparency'] = image.getpixel((40, 4))  # the green quadrant's entry
    return encode(image, 'PNG', **options)


def without_green() -> np.ndarray:
    picture = RGB.copy()
    picture[:16, 24:] = 255
    return picture


def cmyk(kind: str, **options) -> bytes:
    return encode(Image.fromarray(RGB).convert('CMYK'), kind, **options)


def cmyk_jpeg_without_adobe() -> bytes:
    data = cmyk('JPEG', quality=100)
    start = data.index(b'\xff\xee')
    length = struct.unpack('>H', data[start + 2 : start + 4])[0]
    assert data[start + 4 : start + 9] == b'Adobe'
    return data[:start] + data[start + 2 + length :]


def lab() -> bytes:
    profiles = ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB')
    return encode(ImageCms.profileToProfile(Image.fromarray(RGB), *profiles, outputMode='LAB'), 'TIFF')


def frames(kind: str, **options) -> bytes:
    return encode(RGB, kind, save_all=True, append_images=[Image.fromarray(255 - RGB)], **options)


def with_bad_exif() -> bytes:
    return encode(RGB, 'JPEG', quality=100, subsampling=0, exif=b'Exif\0\0MM\0*\xff\xff\xff\xff\x12\x34')


WIDE = RGB.astype(np.uint16) * 257
UNIT = RGB.astype(np.float32) / 255
JPEG = dict(quality=100, subsampling=0)

# kind -> (file name, bytes, RGB expected, largest error allowed). JPEG's own rounding takes up to 3.
GOOD = {
    'RGB JPEG': ('a.jpg', lambda: encode(RGB, 'JPEG', **JPEG), RGB, 3),
    'progressive JPEG': ('a.jpg', lambda: encode(RGB, 'JPEG', progressive=True, **JPEG), RGB, 3),
    'JPEG that stores RGB': ('a.jpg', lambda: encode(RGB, 'JPEG', keep_rgb=True, quality=100), RGB, 3),
    'JPEG with bytes after its end': ('a.jpg', lambda: encode(RGB, 'JPEG', **JPEG) + b'more', RGB, 3),
    'damaged EXIF block': ('a.jpg', with_bad_exif, RGB, 3),
    'grey JPEG': ('a.jpg', lambda: encode(RGB[..., 0], 'JPEG', **JPEG), GREY, 3),
    'CMYK JPEG, Adobe (inverted)': ('a.jpg', lambda: cmyk('JPEG', quality=100), RGB, 4),
    'CMYK JPEG without Adobe marker': ('a.jpg', cmyk_jpeg_without_adobe, RGB, 4),
    'CMYK TIFF': ('a.tif', lambda: cmyk('TIFF'), RGB, 0),
    'RGB PNG': ('a.png', lambda: encode(RGB, 'PNG'), RGB, 0),
    'lossless WebP': ('a.webp', lambda: encode(RGB, 'WEBP', lossless=True), RGB, 0),
    'BMP': ('a.bmp', lambda: encode(RGB, 'BMP'), RGB, 0),
    'TIFF, compressed': ('a.tif', lambda: encode(RGB, 'TIFF', compression='tiff_lzw'), RGB, 0),
    'GIF, palette': ('a.gif', lambda: encode(Image.fromarray(RGB).quantize(4), 'GIF'), RGB, 0),
    'palette': ('a.png', palette, RGB, 0),
    'palette, one entry transparent': ('a.png', lambda: palette(transparent=1), without_green(), 0),
    'RGB with a transparent colour': (
        'a.png',
        lambda: encode(RGB, 'PNG', transparency=(30, 180, 60)),
        without_green(),
        0,
    ),
    'alpha': ('a.png', lambda: encode(np.dstack([RGB, HALF]), 'PNG'), OVER_WHITE, 0),
    'half transparent': (
        'a.png',
        lambda: encode(np.dstack([RGB, HALF // 255 * 155 + 100]), 'PNG'),
        np.where(HALF[..., None] == 255, RGB, np.rint(RGB * (100 / 255) + 255 * (155 / 255))),
        1,
    ),
    'grey with alpha': (
        'a.png',
        lambda: encode(Image.merge('LA', [Image.fromarray(RGB[..., 0]), Image.fromarray(HALF)]), 'PNG'),
        np.where(HALF[..., None] == 255, GREY, 255),
        0,
    ),
    'WebP with alpha': (
        'a.webp',
        lambda: encode(np.dstack([RGB, HALF]), 'WEBP', lossless=True, exact=True),
        OVER_WHITE,
        0,
    ),
    '1 bit': ('a.png', lambda: encode(Image.fromarray(HALF).convert('1'), 'PNG'), HALF[..., None] * [1, 1, 1], 0),
    '16-bit grey PNG': ('a.png', lambda: encode(WIDE[..., 0], 'PNG'), GREY, 0),
    '16-bit grey PNG, a value transparent': (
        'a.png',
        lambda: encode(WIDE[..., 0], 'PNG', transparency=30 * 257),
        np.where(GREY == 30, 255, GREY),
        0,
    ),
    '16-bit grey TIFF': ('a.tif', lambda: encode(WIDE[..., 0], 'TIFF'), GREY, 0),
    '16-bit grey TIFF, big endian': ('a.tif', lambda: tiff(WIDE[..., 0], byteorder='>'), GREY, 0),
    '16-bit grey TIFF, white is zero': (
        'a.tif',
        lambda: tiff(65535 - WIDE[..., 0], photometric='miniswhite'),
        GREY,
        0,
    ),
    '16-bit RGB PNG': ('a.png', lambda: png16(WIDE), RGB, 0),
    '16-bit RGB PNG, 8 bits shifted': ('a.png', lambda: png16(RGB.astype(np.uint16) << 8), RGB, 0),
    '16-bit RGB TIFF': ('a.tif', lambda: tiff(WIDE, photometric='rgb'), RGB, 0),
    '16-bit RGB TIFF, planes apart': (
        'a.tif',
        lambda: tiff(np.ascontiguousarray(WIDE.transpose(2, 0, 1)), photometric='rgb', planarconfig='separate'),
        RGB,
        0,
    ),
    '16-bit CMYK TIFF': (
        'a.tif',
        lambda: tiff(np.dstack([65535 - WIDE, 0 * WIDE[..., :1]]), photometric='separated'),
        RGB,
        0,
    ),
    '32-bit integer TIFF, 0 to 255': ('a.tif', lambda: tiff(RGB[..., 0].astype(np.int32)), GREY, 0),
    '32-bit integer TIFF, 0 to 65535': ('a.tif', lambda: tiff(WIDE[..., 0].astype(np.int32)), GREY, 0),
    'float grey TIFF, 0 to 1': ('a.tif', lambda: encode(UNIT[..., 0], 'TIFF'), GREY, 0),
    'float RGB TIFF, 0 to 1': ('a.tif', lambda: tiff(UNIT, photometric='rgb'), RGB, 0),
    'float RGB TIFF, 0 to 255': ('a.tif', lambda: tiff(RGB.astype(np.float64), photometric='rgb'), RGB, 0),
    'float RGB TIFF with alpha': (
        'a.tif',
        lambda: tiff(np.dstack([UNIT, HALF / np.float32(255)]), photometric='rgb', extrasamples=['unassalpha']),
        OVER_WHITE,
        0,
    ),
    'float grey TIFF, white is zero': (
        'a.tif',
        lambda: tiff(1 - UNIT[..., 0].astype(np.float64), photometric='miniswhite'),
        GREY,
        0,
    ),
    'YCbCr TIFF': ('a.tif', lambda: encode(Image.fromarray(RGB).convert('YCbCr'), 'TIFF'), RGB, 3),
    'L*a*b* TIFF': ('a.tif', lab, RGB, 5),
    'animated GIF': ('a.gif', lambda: frames('GIF'), RGB, 0),
    'animated PNG': ('a.png', lambda: frames('PNG'), RGB, 0),
    'animated WebP': ('a.webp', lambda: frames('WEBP', lossless=True), RGB, 0),
    'TIFF of several pages': ('a.tif', lambda: frames('TIFF'), RGB, 0),
    'wrong extension': ('a.jpg', lambda: encode(RGB, 'PNG'), RGB, 0),
    'one pixel': ('a.png', lambda: encode(RGB[:1, :1], 'PNG'), RGB[:1, :1], 0),
}

# kind -> (bytes, the whole reason as a pattern)
BAD = {
    'empty file': (lambda: b'', r'empty file \(0 bytes\)'),
    'web page named .jpg': (
        lambda: b'<!DOCTYPE html><html>',
        r"not an image \(JPEG, PNG, WEBP, BMP, TIFF, GIF\): begins with b'<!DOCTYPE html><'",
    ),
    'only zeros (interrupted copy)': (lambda: bytes(5000), r'not an image \(.*\): begins with .*'),
    'another kind of picture (PPM)': (lambda: encode(RGB, 'PPM'), r"not an image \(.*\): begins with b'P6.*"),
    'another kind of RIFF (WAV)': (lambda: b'RIFF\x24\0\0\0WAVEfmt ' + bytes(40), r'damaged WebP header'),
    'JPEG cut off in its header': (lambda: encode(RGB, 'JPEG')[:10], r'damaged or cut off: Truncated File Read'),
    'JPEG cut off in its data': (lambda: encode(noise(), 'JPEG')[:-500], r'damaged or cut off: .*truncated.*'),
    'JPEG without its last two bytes': (
        lambda: encode(noise(), 'JPEG')[:-2],
        r'damaged or cut off: .*truncated.*',
    ),
    'PNG cut off': (lambda: encode(noise(), 'PNG')[:-500], r'damaged or cut off: .*truncated.*'),
    'WebP cut off': (lambda: encode(noise(), 'WEBP')[:-500], r'damaged (WebP header|or cut off: .*)'),
    'BMP cut off': (lambda: encode(noise(), 'BMP')[:-500], r'damaged or cut off: .*truncated.*'),
    'TIFF cut off': (lambda: encode(noise(), 'TIFF')[:2000], r'damaged (TIFF header|or cut off: .*)'),
    'float TIFF cut off': (
        lambda: tiff(noise() / np.float32(255), photometric='rgb', rowsperstrip=4)[:-500],
        r'damaged or cut off: TIFF data missing',
    ),
    'PNG with damaged data': (
        lambda: (data := encode(noise(), 'PNG'))[:300] + bytes(200) + data[500:],
        r'damaged or cut off: .*',
    ),
    'no pixels': (tiff_of_width_0, r'no pixels: 0 x 32'),
    'PNG of width 0': (lambda: png_header(0, 32), r'damaged PNG header'),
    'decompression bomb': (
        lambda: png_header(40000, 40000),
        r'too large: 40000 x 40000 is 1600000000 pixels, more than max_pixels=178956970',
    ),
    'a line, 1 x 4000': (
        lambda: encode(np.zeros((4000, 1), np.uint8), 'PNG'),
        r'too narrow: 1 x 4000 has sides beyond max_aspect=100',
    ),
    'float TIFF without a defined white': (
        lambda: encode(UNIT[..., 0] * 1000, 'TIFF'),
        r'floats from 78\.4314 to 980\.392: neither in \[0, 1\] nor in \[0, 255\]',
    ),
    'float TIFF with NaN': (
        lambda: encode(UNIT[..., 0] * np.float32('nan'), 'TIFF'),
        r'floats from nan to nan: .*',
    ),
    'integer TIFF below zero': (
        lambda: tiff(RGB[..., 0].astype(np.int32) - 100),
        r'integers from -80 to 150: neither in \[0, 255\] nor in \[0, 65535\]',
    ),
    'TIFF of five bands': (
        lambda: tiff(np.dstack([RGB, RGB[..., :2]]), photometric='minisblack', planarconfig='contig'),
        r'TIFF of kind MINISBLACK with 5 samples of uint8: not understood',
    ),
}


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize('kind', GOOD)
def test_unusual_picture_has_its_colours(kind, tmp_path):
    name, make, expected, tolerance = GOOD[kind]
    decoded = read_image(write(tmp_path, name, make()), color_order='rgb')
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous and decoded.flags.writeable
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected.astype(int)).max() <= tolerance


@pytest.mark.parametrize('kind', BAD)
def test_bad_file_is_refused_with_its_reason(kind, tmp_path):
    make, reason = BAD[kind]
    path = write(tmp_path, 'a.jpg', make())
    with pytest.raises(BrokenImage) as caught:
        read_image(path)
    assert caught.value.path == str(path)
    assert re.fullmatch(reason, caught.value.reason), caught.value.reason


def test_what_is_no_file(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'folder.jpg').mkdir()
    (tmp_path / 'link.jpg').symlink_to('nowhere.jpg')
    reasons = {
        'missing.jpg': 'no such file',
        'link.jpg': 'no such file',
        'folder.jpg': 'a folder, not a file',
        'pipe.jpg': 'a device, pipe or socket, not a file',
    }
    for name, reason in reasons.items():
        with pytest.raises(BrokenImage) as caught:
            read_image(tmp_path / name)
        assert caught.value.reason == reason

    def fail(number, *_):
        raise OSError(number, os.strerror(number))  # becomes PermissionError, FileNotFoundError, ...

    path = write(tmp_path, 'a.png', encode(RGB, 'PNG'))
    for number, reason in {
        13: 'permission denied',
        2: 'no such file',  # it vanished after it was found
        5: 'cannot be read: Input/output error',
    }.items():
        monkeypatch.setattr(loading, 'open', partial(fail, number), raising=False)
        with pytest.raises(BrokenImage) as caught:
            read_image(path)
        assert caught.value.reason == reason


def test_every_kind_is_in_the_documentation():
    text = DOCS.read_text()
    no_file = ['missing file, dangling link', 'permission denied', 'folder, pipe or device']
    missing = [kind for kind in [*GOOD, *BAD, *no_file] if f'| {kind} |' not in text]
    assert not missing


# Which side of the upright picture the first row and the first column as stored show (EXIF 2.3, tag 274).
SIDES = {
    1: ('top', 'left'),
    2: ('top', 'right'),
    3: ('bottom', 'right'),
    4: ('bottom', 'left'),
    5: ('left', 'top'),
    6: ('right', 'top'),
    7: ('right', 'bottom'),
    8: ('left', 'bottom'),
}


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'float TIFF', 'grey JPEG'])
@pytest.mark.parametrize('orientation', SIDES)
def test_comes_out_upright(orientation, kind, tmp_path):
    first_row, first_column = SIDES[orientation]
    stored = RGB if first_row in ('top', 'bottom') else RGB.transpose(1, 0, 2)
    if first_row in ('bottom', 'right'):
        stored = stored[::-1]
    if first_column in ('right', 'bottom'):
        stored = stored[:, ::-1]
    stored, expected = np.ascontiguousarray(stored), RGB
    if kind == 'float TIFF':
        data = tiff(stored / np.float32(255), photometric='rgb', extratags=[(274, 'H', 1, orientation, True)])
    else:
        if kind == 'grey JPEG':
            stored, expected = np.ascontiguousarray(stored[..., 0]), GREY
        image = Image.fromarray(stored)
        exif = image.getexif()
        exif[274] = orientation
        options = {'JPEG': JPEG, 'grey JPEG': JPEG, 'WEBP': dict(lossless=True)}.get(kind, {})
        data = encode(image, kind.removeprefix('grey '), exif=exif, **options)
    decoded = read_image(write(tmp_path, 'a.img', data), color_order='rgb')
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= 3


@pytest.mark.parametrize(
    'kind, options',
    [
        ('JPEG', {}),
        ('JPEG', dict(progressive=True)),
        ('PNG', {}),
        ('WEBP', {}),
        ('WEBP', dict(lossless=True)),
        ('BMP', {}),
        ('TIFF', {}),
        ('TIFF', dict(compression='tiff_deflate')),
        ('GIF', {}),
        ('float TIFF', {}),
        ('float TIFF', dict(compression='zlib', rowsperstrip=8)),
    ],
)
def test_cut_off_file_is_whole_or_refused(kind, options, tmp_path):
    picture = noise()
    if kind == 'float TIFF':
        data = tiff(picture / np.float32(255), photometric='rgb', **options)
    else:
        data = encode(Image.fromarray(picture).quantize(64) if kind == 'GIF' else picture, kind, **options)
    whole = read_image(write(tmp_path, 'whole', data))
    refused = 0
    lengths = [*np.linspace(1, len(data) - 1, 25).astype(int), *range(len(data) - 12, len(data))]
    for length in lengths:
        path = write(tmp_path, 'cut', data[:length])
        try:
            assert np.array_equal(read_image(path), whole), f'half a picture from {length} of {len(data)} bytes'
        except BrokenImage:
            refused += 1
    assert refused >= 20


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', ['RGB JPEG', 'palette', 'lossless WebP', 'TIFF, compressed', 'float RGB TIFF, 0 to 1'])
def test_damage_anywhere_never_raises_anything_else(kind, tmp_path):
    generator = np.random.default_rng(1)
    data = GOOD[kind][1]()
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        places = generator.integers(len(data), size=generator.integers(1, 8))
        damaged[places] = generator.integers(0, 256, len(places))
        try:
            image = read_image(write(tmp_path, 'damaged', damaged.tobytes()))
        except BrokenImage as error:
            assert '\n' not in error.reason
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def test_limits_are_configurable(tmp_path):
    path = str(write(tmp_path, 'a.png', encode(RGB, 'PNG')))
    assert LoadImage(max_pixels=32 * 48)(dict(img_path=path))['img'].shape == (32, 48, 3)
    with pytest.raises(BrokenImage, match='max_pixels=1535'):
        LoadImage(max_pixels=32 * 48 - 1)(dict(img_path=path))
    with pytest.raises(BrokenImage, match=r'max_aspect=1\.4'):
        LoadImage(max_aspect=1.4)(dict(img_path=path))
    assert LoadImage(max_aspect=1.5)(dict(img_path=path))['img'].shape == (32, 48, 3)
    tall = str(write(tmp_path, 'b.png', encode(np.zeros((4000, 1), np.uint8), 'PNG')))
    assert LoadImage(max_aspect=4000)(dict(img_path=tall))['img'].shape == (4000, 1, 3)
    assert LoadImage()(dict(img_path=path))['ori_shape'] == (32, 48)
    for wrong in (dict(color_order='gbr'), dict(max_pixels=0), dict(max_aspect=0.5)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LoadImage(**wrong)


def test_process_wide_switches_of_pillow_neither_matter_nor_change(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    cut = write(tmp_path, 'a.png', encode(noise(), 'PNG')[:-500])
    with pytest.raises(BrokenImage, match='truncated'):
        read_image(cut)
    assert read_image(write(tmp_path, 'b.png', encode(RGB, 'PNG'))).shape == (32, 48, 3)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True and Image.MAX_IMAGE_PIXELS == 10


def test_cut_off_jpeg_is_refused_where_opencv_would_fill_it_with_grey(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: np.full((64, 64, 3), 128, np.uint8))  # as some versions do
    data = encode(noise(), 'JPEG')
    assert (read_image(write(tmp_path, 'whole.jpg', data)) == 128).all()  # the common case does go through OpenCV
    with pytest.raises(BrokenImage, match='truncated'):
        read_image(write(tmp_path, 'cut.jpg', data[:-500]))


def test_equals_mmcv_on_the_common_case(tmp_path):
    picture = cv2.resize(noise(), (200, 150), interpolation=cv2.INTER_CUBIC)
    for options in (dict(quality=90), dict(quality=75, progressive=True), dict(quality=95, subsampling=0)):
        results = dict(img_path=str(write(tmp_path, 'a.jpg', encode(picture, 'JPEG', **options))))
        ours, theirs = LoadImage()(dict(results)), LoadImageFromFile()(dict(results))
        assert np.array_equal(ours['img'], theirs['img'])
        assert (ours['img_shape'], ours['ori_shape']) == (theirs['img_shape'], theirs['ori_shape'])


def test_without_tifffile_the_reason_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path, 'a.tif', tiff(UNIT, photometric='rgb'))
    monkeypatch.setitem(__import__('sys').modules, 'tifffile', None)
    with pytest.raises(BrokenImage, match='pip install tifffile'):
        read_image(path)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(BrokenImage('a.jpg', 'empty file')))
    assert (error.path, error.reason, str(error)) == ('a.jpg', 'empty file', 'a.jpg: empty file')
