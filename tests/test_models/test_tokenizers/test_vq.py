import math

import pytest
import torch
import torch.nn.functional as F

from mimselfsup.models.tokenizers import Codebook, VQTokenizer, code_perplexity
from mimselfsup.models.tokenizers import vq as module


def test_nearest_is_the_closest_vector():
    book = Codebook(20, 5)
    queries = F.normalize(torch.randn(3, 4, 5), dim=-1)
    assert torch.equal(book.nearest(queries), torch.cdist(queries.flatten(0, 1), book.vectors).argmin(1).view(3, 4))


def test_an_update_moves_codes_towards_the_mean_of_theirs():
    """decay v + (1 - decay) u, made a unit vector again, where u is the direction of the mean; others stay."""
    book = Codebook(3, 4, decay=0.8, revive_below=0.0)
    before = book.vectors.clone()
    queries = F.normalize(torch.randn(6, 4), dim=1)
    book.update(queries, torch.tensor([0, 0, 0, 2, 2, 0]))
    for code, members in ((0, [0, 1, 2, 5]), (2, [3, 4])):
        mean = F.normalize(queries[members].mean(0), dim=0)
        torch.testing.assert_close(book.vectors[code], F.normalize(0.8 * before[code] + 0.2 * mean, dim=0))
    assert torch.equal(book.vectors[1], before[1])
    torch.testing.assert_close(book.usage, torch.tensor([0.2 * 4 / 6, 0.0, 0.2 * 2 / 6]))


def test_processes_update_as_one(monkeypatch):
    """Sums over two processes, here played by adding what the other one had, give what all tokens together give."""
    queries = F.normalize(torch.randn(10, 4), dim=1)
    codes = torch.randint(0, 3, (10,))
    torch.manual_seed(0)
    together, one = Codebook(3, 4, revive_below=0.0), Codebook(3, 4, revive_below=0.0)
    one.load_state_dict(together.state_dict())
    together.update(queries, codes)
    others = [
        torch.zeros(3).index_add_(0, codes[6:], torch.ones(4)),
        torch.zeros(3, 4).index_add_(0, codes[6:], queries[6:]),
    ]
    monkeypatch.setattr(module, 'all_reduce', lambda tensor: tensor.add_(others.pop(0)))
    one.update(queries[:6], codes[:6])
    torch.testing.assert_close(one.vectors, together.vectors)
    torch.testing.assert_close(one.usage, together.usage)


def test_codes_that_nobody_uses_are_put_where_tokens_are():
    torch.manual_seed(0)
    book = Codebook(8, 4, decay=0.5, revive_below=0.1)
    queries = F.normalize(torch.randn(50, 4), dim=1)
    book.update(queries, torch.zeros(50, dtype=torch.int64))
    assert torch.cdist(book.vectors[1:], queries).amin(1).max() < 1e-3
    torch.testing.assert_close(book.usage, torch.tensor([0.5] + [1 / 8] * 7))
    settled = book.vectors.clone()
    book.update(queries, torch.zeros(50, dtype=torch.int64))  # not yet forgotten
    assert torch.equal(book.vectors[1:], settled[1:])
    for _ in range(4):
        book.update(queries, torch.zeros(50, dtype=torch.int64))
    assert not (book.vectors[1:] == settled[1:]).all(1).any()


def test_codes_mean_the_pixels_near_them():
    """Equal images have equal codes, and a change of pixels none that are further away than two patches."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(num_codes=64, strides=(2, 3), width=16, code_dims=6).eval()
    images = torch.rand(1, 3, 60, 60) * 255
    codes = tokenizer.codes(images)
    assert codes.shape == (1, 10, 10) and codes.unique().numel() > 1
    changed = images.clone()
    changed[:, :, 24:30, 24:30] = 255 - changed[:, :, 24:30, 24:30]
    vectors, moved = tokenizer.encode(images), tokenizer.encode(changed)
    different = (vectors - moved).abs().amax(-1)[0] > 1e-6
    assert different[4, 4]
    different[2:7, 2:7] = False
    assert not different.any()


def test_decoding_gives_pictures_of_the_same_size():
    tokenizer = VQTokenizer(num_codes=16, strides=(3, 2), width=8, code_dims=4).eval()
    pixels = tokenizer.decode(torch.randint(0, 16, (2, 3, 5)))
    assert pixels.shape == (2, 3, 18, 30) and pixels.min() >= 0 and pixels.max() <= 255
    with pytest.raises(ValueError, match='images of 20 x 18 pixels, sides must be multiples of 6'):
        tokenizer.codes(torch.zeros(1, 3, 20, 18))


def test_perplexity_in_closed_form():
    assert code_perplexity(torch.arange(6).view(2, 3), 10) == pytest.approx(6)
    assert code_perplexity(torch.zeros(4, dtype=torch.int64), 10) == pytest.approx(1)
    expected = math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert code_perplexity(torch.tensor([5, 5, 7, 5]), 8) == pytest.approx(expected)
