"""Where a view's piece of the map lies, what is stored, and what of it is read."""

import copy
import os
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import RandomFlip
from mmpretrain.datasets.transforms import PackInputs

from mimselfsup.datasets.transforms.cropping import CROP_META_KEYS, RandomResizedCrop
from mimselfsup.models.backbones import MaskedSwin
from mimselfsup.models.saliency import AttentionBank, crop_maps, normalize_maps
from mimselfsup.models.saliency.map_store import MapsInfo, MapStore, fingerprint

from ..conftest import randomise
from ..test_backbones.test_masked_swin import SWIN
from .test_teacher import tiny_vit


def smooth_image(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """(H, W) in [0, 1]: a few waves, at most one and a half across the image."""
    y = (torch.arange(height) + 0.5)[:, None] / height
    x = (torch.arange(width) + 0.5)[None] / width
    image = torch.zeros(height, width)
    for _ in range(4):
        fy, fx, phase = torch.rand(3, generator=generator) * torch.tensor([1.5, 1.5, 1.0])
        image += torch.sin(2 * torch.pi * (fy * y + fx * x + phase))
    return (image - image.min()) / (image.max() - image.min())


def area_mean(image: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    return F.adaptive_avg_pool2d(image[None, None].float(), grid)[0, 0]


def store_maps(folder, maps: np.ndarray) -> AttentionBank:
    store = MapStore(folder)
    names = [f'{index}.jpg' for index in range(len(maps))]
    info = MapsInfo(40, len(maps), maps.shape[1:], fingerprint(names), {})
    path = store.path(40)
    store.begin(path, info)
    with store.open_for_writing(path) as writer:
        writer.write(range(len(maps)), maps)
    store.commit(path, info, names)
    bank = AttentionBank(map_size=maps.shape[1:])
    bank.attach()
    bank.open(path, maps.shape)
    return bank


# ------------------------------------------------------------------------------------------------ geometry


@pytest.mark.parametrize('size', [(256, 256), (180, 330), (411, 203)])
def test_piece_of_a_downsampled_image_is_the_downsampled_crop(size, tmp_path):
    """Through the real transforms, for random boxes and flips of images of several shapes.

    Tolerance: 0.05 at worst and 0.012 on average, of a range of 1: the map is the image at 14 x 14, so its
    cells blur and its border is constant. A box off by one map cell is wrong by 0.1 and more.
    """
    generator = torch.Generator().manual_seed(sum(size))
    np.random.seed(sum(size))
    flip = RandomFlip(prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
    crop = RandomResizedCrop(112, crop_ratio_range=(0.2, 1.0), backend='pillow', interpolation='bilinear')
    pack = PackInputs(meta_keys=CROP_META_KEYS)
    maps, expected, samples = [], [], []
    for index in range(40):
        image = smooth_image(*size, generator)
        maps.append(area_mean(image, (14, 14)))
        pixels = (image * 255).round().to(torch.uint8).numpy()
        results = dict(img=np.repeat(pixels[..., None], 3, 2), sample_idx=index)
        packed = pack(flip(crop(results)))
        expected.append(area_mean(packed['inputs'][0] / 255, (7, 7)).flatten())
        samples.append(packed['data_samples'])
    bank = store_maps(tmp_path, torch.stack(maps).numpy())
    order = torch.randperm(40, generator=generator).tolist()
    pieces = bank(torch.zeros(40, 3, 112, 112), [samples[i] for i in order], (7, 7))
    assert {sample.get('flip_direction') for sample in samples} == {None, 'horizontal', 'vertical', 'diagonal'}
    error = (pieces - torch.stack([expected[i] for i in order])).abs()
    assert error.max() < 0.05 and error.mean() < 0.012


def test_whole_image_without_flip_is_the_block_means_of_the_map():
    maps = torch.stack([smooth_image(16, 16, torch.Generator().manual_seed(seed)) for seed in range(8)])
    boxes, flips = torch.tensor([[0.0, 0, 1, 1]]).expand(8, 4), torch.zeros(8, 2, dtype=torch.bool)
    # A linear field is its own mean, so blocks inside are exact for it, at any number of points.
    ramp = (torch.arange(16)[:, None] + 2.0 * torch.arange(16)).expand(8, 16, 16)
    blocks = F.avg_pool2d(ramp[:, None], 4)[:, 0]
    pieces = crop_maps(ramp, boxes, flips, (4, 4)).unflatten(1, (4, 4))
    torch.testing.assert_close(pieces[:, 1:-1, 1:-1], blocks[:, 1:-1, 1:-1])
    pieces = crop_maps(maps, boxes, flips, (4, 4), samples=16).unflatten(1, (4, 4))
    torch.testing.assert_close(pieces, F.avg_pool2d(maps[:, None], 4)[:, 0], atol=0.02, rtol=0)


def test_agrees_with_interpolating_cropping_and_resizing_full_size_maps():
    """The definition: the map at the size of the image, its crop resized, pixels summed up per patch.

    Tolerance: 0.03 of the range, for maps without any smoothness and 4 x 4 points.
    """
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(12, 14, 14, generator=generator)
    rows, columns = 320, 448
    full = F.interpolate(maps[:, None], size=(rows, columns), mode='bilinear', align_corners=False)
    boxes, flips, expected = [], [], []
    for index in range(12):
        height, width = (int(v) for v in torch.randint(120, 320, (2,), generator=generator))
        top = int(torch.randint(0, rows - height + 1, (1,), generator=generator))
        left = int(torch.randint(0, columns - width + 1, (1,), generator=generator))
        piece = full[index : index + 1, :, top : top + height, left : left + width]
        view = F.interpolate(piece, size=(224, 224), mode='bilinear', align_corners=False)
        flip = torch.rand(2, generator=generator) < 0.5
        view = view.flip([2 + axis for axis in (0, 1) if flip[axis]])
        boxes.append([top / rows, left / columns, height / rows, width / columns])
        flips.append(flip)
        expected.append(F.avg_pool2d(view, 16).flatten())
    got = crop_maps(maps, torch.tensor(boxes), torch.stack(flips), (14, 14))
    torch.testing.assert_close(got, torch.stack(expected), atol=0.03, rtol=0)


def test_flip_of_the_view_is_a_flip_of_the_piece():
    maps = torch.rand(1, 6, 9)
    box = torch.tensor([[0.2, 0.1, 0.5, 0.7]])
    plain = crop_maps(maps, box, torch.tensor([[False, False]]), (3, 5)).view(3, 5)
    for flips, axes in (((True, False), [0]), ((False, True), [1]), ((True, True), [0, 1])):
        flipped = crop_maps(maps, box, torch.tensor([flips]), (3, 5)).view(3, 5)
        torch.testing.assert_close(flipped, plain.flip(axes))


def test_corner_reproduces_the_released_crop(tmp_path):
    maps = np.zeros((1, 14, 14), dtype=np.float32)
    maps[0, :2, :2] = [[0, 1], [0, 1]]
    maps[0, 2:] = 7.0  # never seen
    bank = store_maps(tmp_path, maps)
    bank.map_crop = 'corner'
    sample = PackInputs(meta_keys=CROP_META_KEYS)(
        dict(img=np.zeros((8, 8, 3), np.uint8), sample_idx=0, crop_box=(40, 40, 20, 20), crop_source=(90, 90))
    )['data_samples']
    piece = bank(torch.zeros(1, 3, 8, 8), [sample], (4, 4)).view(4, 4)
    torch.testing.assert_close(piece, torch.tensor([[0.0, 0.25, 0.75, 1.0]]).expand(4, 4))


# ------------------------------------------------------------------------------------------------ values


def test_both_orders_of_normalization():
    attention = torch.tensor([[[0.1, 0.2, 0.3], [0.6, 0.2, 0.2]]])
    torch.testing.assert_close(normalize_maps(attention), torch.tensor([[1.0, 0.0, 1 / 3]]))
    torch.testing.assert_close(normalize_maps(attention, 'minmax_per_head'), torch.tensor([[0.5, 0.25, 0.5]]))


@pytest.mark.parametrize('order', ['mean_then_minmax', 'minmax_per_head'])
def test_a_flat_map_is_uniform_and_not_nan(order):
    flat = torch.full((2, 3, 5), 0.2)
    torch.testing.assert_close(normalize_maps(flat, order), torch.ones(2, 5))


@torch.no_grad()
def test_compute_is_the_normalized_class_row():
    vit = tiny_vit(training=True, drop_path_rate=0.5)
    bank = AttentionBank(image_size=(32, 48))
    bank.bind(vit)
    assert bank.map_size == (4, 6)
    images = torch.randn(3, 3, 32, 48)
    maps = bank.compute(vit, images)
    vit.eval()
    rows = vit.encode(images, cls_attention=True).cls_attention.mean(1)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    torch.testing.assert_close(maps.flatten(1), (rows - low) / (high - low))
    assert maps.shape == (3, 4, 6)


@torch.no_grad()
def test_a_map_of_a_swin_has_a_cell_for_each_token_of_its_last_block(tmp_path):
    torch.manual_seed(0)
    swin = MaskedSwin(**SWIN)
    randomise(swin).eval()
    bank = AttentionBank(image_size=32)
    bank.bind(swin)
    assert bank.map_size == (4, 4)
    images = torch.randn(2, 3, 32, 32)
    maps = bank.compute(swin, images)
    received = swin.encode(images, cls_attention=True).cls_attention.mean(1).view(2, 8, 8)[:, ::2, ::2]
    low, high = received.amin((1, 2), keepdim=True), received.amax((1, 2), keepdim=True)
    torch.testing.assert_close(maps, (received - low) / (high - low))
    # Read on the grid that is masked; units of 2 x 2 patches have what tokens would have.
    stored = store_maps(tmp_path, maps.numpy())
    samples = [sample_of(sample_idx=i, crop_box=(0, 0, 32, 32), crop_source=(32, 32)) for i in range(2)]
    piece = stored(images, samples, (8, 8))
    assert piece.shape == (2, 64)
    units = F.avg_pool2d(piece.view(2, 8, 8), 2).flatten(1)
    whole, unflipped = torch.tensor([[0.0, 0, 1, 1]]).expand(2, 4), torch.zeros(2, 2, dtype=torch.bool)
    tokens = crop_maps(maps, whole, unflipped, (4, 4), samples=8)
    torch.testing.assert_close(units, tokens, atol=1e-3, rtol=0)  # float16


# ------------------------------------------------------------------------------------------------ storage


def test_round_trip_is_float16_and_by_index(tmp_path):
    maps = np.random.default_rng(0).random((50, 3, 4), dtype=np.float32)
    bank = store_maps(tmp_path, maps)
    assert os.path.getsize(bank.path) == 50 * 3 * 4 * 2 + 128  # and the header
    index = np.array([7, 0, 49, 7])
    assert torch.equal(bank.read(index), torch.from_numpy(maps[index].astype(np.float16)))


def test_rows_written_in_any_order_by_several_writers_end_up_in_place(tmp_path):
    store, info = MapStore(tmp_path), MapsInfo(40, 6, (2, 2), 'f' * 64, {})
    path = store.path(40)
    store.begin(path, info)
    maps = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
    with store.open_for_writing(path) as one, store.open_for_writing(path) as other:
        other.write([5, 3], maps[[5, 3]])
        one.write([0, 1, 2], maps[:3])
        other.write([4], maps[4:5])
        with pytest.raises(ValueError, match=r'maps are \(1, 2, 2\), expected \(2, 2, 2\) for 2 images'):
            one.write([0, 1], maps[:1])
    store.commit(path, info, 'abcdef')
    np.testing.assert_array_equal(store.open(path, info), maps.astype(np.float16))
    assert store.listing(info) == list('abcdef')


def test_a_kill_before_the_replacement_leaves_the_old_maps(tmp_path, monkeypatch):
    bank = store_maps(tmp_path, np.ones((4, 2, 2), np.float32))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        store_maps(tmp_path, np.zeros((4, 2, 2), np.float32))
    monkeypatch.undo()
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.pop('epoch_0040.npy.tmp')
    assert after == before
    assert bank.read(np.arange(4)).eq(1).all()
    MapStore(tmp_path).remove_unfinished()
    assert {path.name for path in tmp_path.iterdir()} == set(before)


def test_reading_maps_a_file_instead_of_loading_it(tmp_path):
    """200 MB of maps: reading thousands of them must not make the process grow."""
    path = tmp_path / 'epoch_0040.npy'
    shape = (500_000, 14, 14)
    np.lib.format.open_memmap(path, mode='w+', dtype=np.float16, shape=shape).flush()  # sparse: takes no disk
    bank = AttentionBank(map_size=(14, 14))

    def resident() -> int:
        with open('/proc/self/statm') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    if not os.path.exists('/proc/self/statm'):
        pytest.skip('needs /proc')
    bank.open(path, shape)
    index = np.random.default_rng(0).integers(0, shape[0], 256)
    bank.read(index[:2])
    before = resident()
    for seed in range(20):
        bank.read(np.random.default_rng(seed).integers(0, shape[0], 256))
    assert resident() - before < 5 * 2**20
    clone = pickle.loads(pickle.dumps(bank))
    assert len(pickle.dumps(bank)) < 10_000
    assert resident() - before < 5 * 2**20
    assert torch.equal(clone.read(index), bank.read(index))
    assert torch.equal(copy.deepcopy(bank).read(index), bank.read(index))


# ------------------------------------------------------------------------------------------------ when, and errors


def sample_of(**meta):
    return PackInputs(meta_keys=CROP_META_KEYS)(dict(img=np.zeros((8, 8, 3), np.uint8), **meta))['data_samples']


def test_answers_none_until_there_are_maps_and_until_start_epoch(tmp_path):
    bank = store_maps(tmp_path, np.ones((2, 2, 2), np.float32))
    views = [sample_of(sample_idx=1, crop_box=(0, 0, 4, 4), crop_source=(8, 8))]
    images = torch.zeros(1, 3, 8, 8)
    assert bank(images, views, (2, 2)).tolist() == [[1, 1, 1, 1]]
    assert bank(images, None, (2, 2)) is None
    bank.start_epoch, bank.epoch = 60, 59
    assert bank(images, views, (2, 2)) is None
    bank.epoch = 60
    assert bank(images, views, (2, 2)) is not None
    bank.close()
    assert bank(images, views, (2, 2)) is None


def test_missing_or_impossible_information_is_named(tmp_path):
    bank = store_maps(tmp_path, np.ones((2, 2, 2), np.float32))
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r'lacks sample_idx, crop_box or crop_source.*CROP_META_KEYS'):
        bank(images, [sample_of(sample_idx=1)], (2, 2))
    with pytest.raises(ValueError, match=r'sample_idx runs to 2, but .*epoch_0040.npy holds 2 maps'):
        bank(images, [sample_of(sample_idx=2, crop_box=(0, 0, 4, 4), crop_source=(8, 8))], (2, 2))
    with pytest.raises(ValueError, match=r'add dict.*BankRefreshHook'):
        AttentionBank()(images, [sample_of(sample_idx=0)], (2, 2))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(normalize='max'), "normalize='max', must be one of"),
        (dict(map_crop='center'), "map_crop='center', must be one of"),
        (dict(samples_per_patch=0), 'samples_per_patch=0, must be at least 1'),
        (dict(start_epoch=-1), 'start_epoch=-1, must be at least 0'),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionBank(**arguments)


def test_binding_checks_grid_and_class_token():
    with pytest.raises(ValueError, match=r'map_size=\(14, 14\).*grid of \(4, 4\)'):
        AttentionBank(map_size=(14, 14), image_size=32).bind(tiny_vit())
    with pytest.raises(ValueError, match=r'image_size=\(30, 30\) does not fit'):
        AttentionBank(image_size=30).bind(tiny_vit())
    with pytest.raises(ValueError, match=r'AttentionBank: this MaskedViT has no attention to take saliency from'):
        AttentionBank(image_size=32).bind(tiny_vit(with_cls_token=False, out_type='avg_featmap'))
