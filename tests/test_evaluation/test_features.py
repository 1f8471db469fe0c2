import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mimselfsup.evaluation.data import build_eval_datasets, build_eval_loader
from mimselfsup.evaluation.features import (
    Features,
    collect_features,
    encode_features,
    parse_feature,
    raw_pixel_features,
)
from mimselfsup.models.backbones import Tokens

from .labelled import write_labelled


class Encoder(nn.Module):
    """Tokens that say where they come from: [CLS] holds 1000, the next extra token 1007, patch n holds n."""

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def encode(self, images, token_mask=None, cls_attention=False):
        patches = torch.arange(4.0).view(1, 4, 1).expand(len(images), 4, 3)
        extra = 1000 + 7 * torch.arange(self.extra).view(1, -1, 1).expand(len(images), -1, 3)
        return Tokens(extra.float(), patches, (2, 2))


class DeepEncoder(Encoder):
    """Block b, counted from the last one, adds 10000 b."""

    def encode_last(self, images, blocks):
        last = self.encode(images)
        return [
            Tokens(last.extra + 10000 * depth, last.patches + 10000 * depth, last.grid)
            for depth in reversed(range(blocks))
        ]


class Model(nn.Module):
    def __init__(self, extra, encoder=Encoder):
        super().__init__()
        self.backbone = encoder(extra)

    def data_preprocessor(self, batch, training):
        assert training is False
        return batch


BATCH = dict(inputs=torch.zeros(2, 3, 8, 8), data_samples=None)


@pytest.mark.parametrize(('extra', 'cls'), [(1, 1000.0), (2, 1003.5), (8, 1024.5)])
def test_cls_is_the_mean_of_the_extra_tokens_and_avg_that_of_the_patches_alone(extra, cls):
    found = encode_features(Model(extra), BATCH, ('cls', 'avg'))
    assert found['cls'].tolist() == [[cls] * 3] * 2
    assert found['avg'].tolist() == [[1.5] * 3] * 2


def test_cls_without_a_cls_token_proposes_avg():
    with pytest.raises(ValueError, match=r"Encoder has no \[CLS\] token; use 'avg'"):
        encode_features(Model(0), BATCH, ('cls',))
    with pytest.raises(ValueError, match=r'patch.*cls.*avg'):
        encode_features(Model(1), BATCH, ('patch',))


def test_names_of_features():
    assert parse_feature('cls') == (('cls', 1),)
    assert parse_feature('cls4') == (('cls', 4),)
    assert parse_feature('cls12+avg') == (('cls', 12), ('avg', 1))
    for wrong in ('', 'cls0', 'cls+', 'cls avg', 'avg4cls', 'CLS'):
        with pytest.raises(ValueError, match='must be cls or avg'):
            parse_feature(wrong)


def test_parts_are_concatenated_in_the_order_of_the_name_and_blocks_in_that_of_the_network():
    found = encode_features(Model(1, DeepEncoder), BATCH, ('cls', 'cls3', 'avg2+cls'))
    assert found['cls'].tolist() == [[1000.0] * 3] * 2
    assert found['cls3'][0].tolist() == [21000.0] * 3 + [11000.0] * 3 + [1000.0] * 3
    assert found['avg2+cls'][1].tolist() == [10001.5] * 3 + [1.5] * 3 + [1000.0] * 3
    with pytest.raises(ValueError, match='Encoder hands out its last block alone'):
        encode_features(Model(1), BATCH, ('cls2',))


def test_prototype_is_the_teachers_strongest_and_in_need_of_one():
    class Projector:
        def __call__(self, features):
            return features

        def logits(self, vectors):
            return vectors @ torch.tensor([[1.0, -1, 1, 0]] * 3) + torch.tensor([0.0, 0, 1, 0])

    model = Model(1)
    model.teacher = nn.Module()
    model.teacher.projector = Projector()
    found = encode_features(model, BATCH, ('prototype', 'avg'))
    assert list(found) == ['prototype', 'avg'] and found['prototype'].tolist() == [[2], [2]]
    with pytest.raises(ValueError, match='Model has no head of prototypes'):
        encode_features(Model(1), BATCH, ('prototype',))


def test_rows_keep_features_labels_and_paths_together():
    whole = Features(torch.arange(6.0).view(3, 2), torch.tensor([7, 8, 9]), ['a', 'b', 'c'])
    some = whole.rows(torch.tensor([2, 0]))
    assert some.features.tolist() == [[4, 5], [0, 1]] and some.labels.tolist() == [9, 7] and some.paths == ['c', 'a']


def test_raw_pixels_are_area_means_and_small_pictures_stay():
    images = torch.arange(2 * 3 * 4 * 8, dtype=torch.float32).view(2, 3, 4, 8)
    expected = images.view(2, 3, 2, 2, 4, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(raw_pixel_features(images, size=2), expected)
    assert torch.equal(raw_pixel_features(images, size=4), images.flatten(1))


@pytest.fixture
def loader(tmp_path):
    root = write_labelled(tmp_path / 'data')
    (root / 'train/green/2.png').write_bytes(b'no picture')
    config = Config(dict(model=dict(backbone=dict(img_size=16))))
    return build_eval_loader(build_eval_datasets(config, root)[0], batch_size=5, workers=0)


def mean_colour(batch):
    return dict(colour=batch['inputs'].float().mean((2, 3)), first=batch['inputs'][:, 0, 0, :2].float())


def test_broken_images_are_left_out_and_rows_labels_and_paths_belong_together(loader):
    found = collect_features(loader, mean_colour, progress=False)
    colour, first = found['colour'], found['first']
    assert colour.features.shape == (17, 3) and first.features.shape == (17, 2)
    assert not any(path.endswith('green/2.png') for path in colour.paths)
    assert len(set(colour.paths)) == 17  # and no other image in its place
    # BGR: the largest channel is the class
    assert torch.equal(colour.features.argmax(1), colour.labels)
    for path, label in zip(colour.paths, colour.labels.tolist(), strict=True):
        assert path.split('/')[-2] == ('blue', 'green', 'red')[label]


def test_features_on_disk_equal_those_in_memory(loader, tmp_path):
    folders = {name: tmp_path / name for name in ('colour', 'first')}
    for folder in folders.values():
        folder.mkdir()
    mapped = collect_features(loader, mean_colour, progress=False, folders=folders)
    plain = collect_features(loader, mean_colour, progress=False)
    for name in folders:
        assert torch.equal(mapped[name].features, plain[name].features)
        stored = np.load(folders[name] / 'features.npy')
        np.testing.assert_array_equal(stored[:17], plain[name].features.numpy())
