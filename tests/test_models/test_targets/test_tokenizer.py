"""Codes as targets: which pixels the tokenizer gets, and that it stays what its file says."""

import copy

import pytest
import torch
from mmpretrain.models.selfsup.cae import DALLEEncoder
from mmpretrain.models.utils.data_preprocessor import SelfSupDataPreprocessor, TwoNormDataPreprocessor
from torch import nn

from mimselfsup.models.targets import TokenTarget
from mimselfsup.models.tokenizers import DALLETokenizer, VQTokenizer
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
DALLE = dict(type='DALLETokenizer', n_hid=8, n_blk_per_group=1, vocab_size=64)
VQ = dict(type='VQTokenizer', num_codes=16, strides=(4, 2), width=8, code_dims=4)


@pytest.fixture
def dalle_file(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'dalle_encoder.pth'
    torch.save(DALLETokenizer(n_hid=8, n_blk_per_group=1, vocab_size=64).state_dict(), path)
    return path


def test_codes_are_those_of_mmpretrains_two_normalisations(dalle_file):
    """Of the same uint8 images: one preprocessor and a target that undoes it, against two."""
    colours = torch.randint(0, 256, (4, 3, 4, 4), dtype=torch.uint8)
    views = [colours.repeat_interleave(size, 2).repeat_interleave(size, 3) for size in (16, 8)]
    theirs = TwoNormDataPreprocessor(
        mean=MEAN, std=STD, second_mean=[-31.875] * 3, second_std=[318.75] * 3, to_rgb=True
    )
    encoder = DALLEEncoder(n_hid=8, n_blk_per_group=1, vocab_size=64)
    encoder.load_state_dict(torch.load(dalle_file, weights_only=True))
    seen = theirs(dict(inputs=[view.clone() for view in views], data_samples=None))['inputs']
    expected = encoder(seen[1]).argmax(1).flatten(1)
    assert len(expected.unique()) > 1

    ours = SelfSupDataPreprocessor(mean=MEAN, std=STD, to_rgb=True)
    target = TokenTarget((16, 16), DALLE, dalle_file)
    target.bind(ours)
    images, second = ours(dict(inputs=[view.clone() for view in views], data_samples=None))['inputs']
    torch.testing.assert_close(images, seen[0])
    assert torch.equal(target(second), expected)
    assert target(second).dtype == torch.int64 and target.out_channels == 64
    unbound = TokenTarget((16, 16), DALLE, dalle_file)
    assert not torch.equal(unbound(second), expected)


def test_the_tokenizer_is_no_part_of_the_model_but_follows_it(dalle_file):
    target = TokenTarget((16, 16), DALLE, dalle_file)
    network = target.frozen.network
    before = copy.deepcopy(network.state_dict())
    model = nn.Sequential(target).train()
    assert not model.state_dict() and not list(model.parameters()) and not list(model.buffers())
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    model.double()
    assert next(network.parameters()).dtype == torch.float64
    model.float()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    again = copy.deepcopy(target)
    assert again.frozen.network is not network
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(images), target(images))


def test_same_codes_under_autocast(dalle_file):
    target = TokenTarget((16, 16), DALLE, dalle_file)
    images = torch.rand(4, 3, 32, 32) * 255
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(target(images), TokenTarget((16, 16), DALLE, dalle_file)(images))


def test_the_checkpoint_of_a_tokenizers_training_will_do(tmp_path):
    torch.manual_seed(0)
    trained = MODELS.build(dict(type='VectorQuantizedAutoencoder', tokenizer=VQ))
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=trained.state_dict(), meta=dict(epoch=1)), path)
    images = torch.rand(2, 3, 32, 32) * 255
    target = TokenTarget((8, 8), VQ, path)
    assert torch.equal(target(images), trained(images)[0].flatten(1))


def test_missing_and_unfit_files_are_named(tmp_path, dalle_file):
    absent = tmp_path / 'nowhere' / 'dalle_encoder.pth'
    with pytest.raises(
        FileNotFoundError, match=rf'there is no file {absent} .*DALLETokenizer.*openmmlab.*model\.target'
    ):
        TokenTarget((16, 16), DALLE, absent)
    with pytest.raises(
        ValueError, match=r'dalle_encoder.pth does not fit DALLETokenizer: it lacks blocks.*and \d+ more'
    ):
        TokenTarget((16, 16), dict(DALLE, n_blk_per_group=2), dalle_file)
    with pytest.raises(ValueError, match='it has a size mismatch for blocks'):
        TokenTarget((16, 16), dict(DALLE, vocab_size=65), dalle_file)
    state = torch.load(dalle_file, weights_only=True)
    torch.save(dict(state, stray=torch.zeros(1)), dalle_file)
    with pytest.raises(ValueError, match='it has, and the network has not, stray:'):
        TokenTarget((16, 16), DALLE, dalle_file)


def test_without_weights_it_can_be_built_but_not_asked():
    target = TokenTarget((16, 16), DALLE)
    assert target.out_channels == 64
    with pytest.raises(ValueError, match=r'DALLETokenizer has no weights; name their file in model.target.checkpoint'):
        target(torch.zeros(1, 3, 16, 16))
    TokenTarget((16, 16), DALLE, allow_random=True)(torch.zeros(1, 3, 16, 16))


def test_pictures_have_the_predicted_codes_where_something_is_masked():
    torch.manual_seed(0)
    target = TokenTarget((8, 8), VQ, allow_random=True)
    target.bind(SelfSupDataPreprocessor(mean=MEAN, std=STD))
    codes = torch.randint(0, 16, (2, 16))
    mask = TokenMask(torch.rand(2, 16).argsort(1) < torch.tensor([[5], [2]]))
    logits = torch.randn(2, 5, 16)
    filled = target.fill_in(codes, logits, mask.masked_subset)
    expected = codes.clone()
    for row, count in enumerate((5, 2)):
        expected[row, mask.masked[row]] = logits[row, :count].argmax(-1)
    assert torch.equal(filled, expected)
    picture = target.to_pixels(filled, torch.zeros(2, 3, 32, 32))
    pixels = target.frozen.network.decode(filled.view(2, 4, 4))
    torch.testing.assert_close(picture * target.std + target.mean, pixels, atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match='DALLETokenizer has no decoder'):
        TokenTarget((16, 16), DALLE, allow_random=True).to_pixels(codes, torch.zeros(2, 3, 64, 64))


def test_logged_perplexity_is_that_of_the_codes():
    target = TokenTarget((8, 8), VQ, allow_random=True)
    codes = torch.tensor([[0, 0, 1, 1], [2, 2, 3, 3]])
    assert target.statistics(codes)['code_perplexity'] == pytest.approx(4)
    assert isinstance(target.frozen.network, VQTokenizer)
