"""Pictures of any size: what a network is shown of them, and in which batches."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mimselfsup.evaluation.whole_pictures import (
    WAITING,
    Pictures,
    batches_by_size,
    describe_pictures,
    multi_scale,
    shrink_to,
    squeeze_to,
    tiled,
)
from mimselfsup.models.backbones import MaskedSwin, MaskedViT, RelativeViT, TokenResNet

SIZES = [(20, 30), (20, 30), (30, 20), (20, 30), (8, 8), (30, 20), (20, 30), (12, 14)]


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for index, (height, width) in enumerate(SIZES):
        paths.append(tmp_path / f'{index}.png')
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def test_shrunk_never_enlarged_and_in_its_aspect(files):
    picture = np.asarray(Image.open(files[0]))
    assert shrink_to(30, picture) is not picture and np.array_equal(shrink_to(30, picture), picture)
    assert np.array_equal(shrink_to(500, picture), picture)
    found = shrink_to(15, picture)
    assert found.shape == (10, 15, 3)
    expected = Image.fromarray(picture).resize((15, 10), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_box_is_shown_at_the_scale_of_the_whole():
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[10:40, 20:60] = 255
    inside = shrink_to(40, picture, (20, 10, 60, 40))  # the whole would become half as large
    assert inside.shape == (15, 20, 3) and (inside == 255).all()
    assert shrink_to(100, picture, (20.4, 10.4, 59.6, 39.6)).shape == (30, 40, 3)


def test_squeezed_to_a_size():
    picture = np.zeros((40, 10, 3), np.uint8)
    picture[:20] = 200
    found = squeeze_to((4, 8), picture)
    assert found.shape == (4, 8, 3)
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(picture).resize((8, 4), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize('batch_size', [1, 2, 3, 64])
def test_every_picture_once_and_one_size_to_a_batch(files, batch_size):
    places = []
    for batch, images in batches_by_size(Pictures(files, partial(shrink_to, 100)), batch_size):
        assert len(batch) == len(images) <= batch_size
        assert {SIZES[place] for place in batch} == {tuple(images.shape[2:])}
        places += batch
        for place, image in zip(batch, images, strict=True):
            rgb = np.asarray(Image.open(files[place]))
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), rgb[..., ::-1])
    assert sorted(places) == list(range(len(files)))
    if batch_size == 64:
        assert len(list(batches_by_size(Pictures(files, partial(shrink_to, 100)), 64))) == len(set(SIZES))


def test_few_pictures_wait():
    class Odd(torch.utils.data.Dataset):
        """Each of a size of its own."""

        asked = 0

        def __len__(self):
            return 40

        def __getitem__(self, index):
            self.asked += 1
            return index, torch.zeros(3, 1, 1 + index)

    pictures, served = Odd(), 0
    for batch, _ in batches_by_size(pictures, 2):
        served += len(batch)
        assert pictures.asked - served < 2 * WAITING
    assert served == 40


def test_features_are_in_order_and_do_not_depend_on_the_batch(files):
    def describe(images):
        values = images.float()
        return dict(mean=values.mean((2, 3)), size=torch.tensor([list(images.shape[2:])] * len(images)))

    one, many = (describe_pictures(Pictures(files, partial(shrink_to, 100)), describe, size) for size in (1, 64))
    assert one['size'].tolist() == [list(size) for size in SIZES]
    torch.testing.assert_close(one['mean'], many['mean'])
    expected = np.stack([np.asarray(Image.open(path)).mean((0, 1))[::-1] for path in files])
    np.testing.assert_allclose(one['mean'].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize('workers', [0, 1])
def test_broken_picture_is_named(files, workers):
    files[3].write_bytes(files[3].read_bytes()[:100])
    with pytest.raises(ValueError, match=r'^[^\n]*3\.png: damaged or cut off: [^\n]*$'):
        list(batches_by_size(Pictures(files, partial(shrink_to, 100)), 4, workers))


def test_what_patches_do_not_tile_is_left_out():
    vit = MaskedViT(dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8), img_size=16, patch_size=4)
    images = torch.randn(2, 3, 19, 14)
    shown = tiled(vit, images)
    assert torch.equal(shown, images[..., :16, :12])
    projection = vit.patch_embed.projection  # a strided convolution, which is what the reference lets decide
    plain = F.conv2d(images, projection.weight, projection.bias, stride=4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(vit.patch_embed(shown)[0], plain)
    assert vit.eval().encode(shown).grid == (4, 3)
    assert tiled(vit, images[..., :3, :]).shape == (2, 3, 4, 12)  # less than a patch

    swin = MaskedSwin(dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]), window_size=2).eval()
    images = torch.randn(1, 3, 70, 101)
    assert torch.equal(tiled(swin, images), images[..., :64, :96])
    assert swin.encode(tiled(swin, images)).grid == (2, 3)

    assert tiled(TokenResNet(depth=18), images) is images
    relative = RelativeViT(
        dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8), img_size=16, patch_size=4
    )
    assert relative.eval().encode(tiled(relative, torch.randn(1, 3, 19, 17))).grid == (4, 4)


def test_mean_over_scales():
    images = torch.rand(2, 3, 9, 12)

    def describe(views):
        return dict(mean=views.mean((2, 3)), size=torch.tensor([[float(side) for side in views.shape[2:]]] * 2))

    found = multi_scale(describe, images, (1, 2**-0.5, 0.5))
    views = [images, *(F.interpolate(images, scale_factor=s, mode='bilinear') for s in (2**-0.5, 0.5))]
    assert torch.equal(found['size'], torch.tensor([[(9 + 6 + 4) / 3, (12 + 8 + 6) / 3]] * 2))
    torch.testing.assert_close(found['mean'], torch.stack([view.mean((2, 3)) for view in views]).mean(0))
    assert torch.equal(multi_scale(describe, images, (1,))['mean'], images.mean((2, 3)))
