"""The published tokenizers are mmpretrain's, asked for codes: same state dict, same answers."""

import torch
from mmpretrain.models.selfsup.beit import VQKD
from mmpretrain.models.selfsup.cae import DALLEEncoder

from mimselfsup.models.tokenizers import DALLETokenizer, VQKDTokenizer
from mimselfsup.models.tokenizers.vqkd import PUBLISHED_ENCODER

SMALL = PUBLISHED_ENCODER | dict(
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48), img_size=32, patch_size=8
)


def test_dalle():
    """mmpretrain's preprocessor has (pixel + 31.875) / 318.75 for the second view."""
    torch.manual_seed(0)
    ours = DALLETokenizer(n_hid=8, n_blk_per_group=1, vocab_size=64)
    theirs = DALLEEncoder(n_hid=8, n_blk_per_group=1, vocab_size=64)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    pixels = torch.rand(4, 3, 24, 32) * 255
    codes = ours.codes(pixels)
    assert codes.shape == (4, 3, 4) and len(codes.unique()) > 1
    assert torch.equal(codes, theirs((pixels + 31.875) / 318.75).argmax(1))


def test_dalles_published_size():
    """74 tensors of 53.8 million numbers are what its file holds."""
    with torch.device('meta'):
        state = DALLETokenizer(device='meta').state_dict()
    assert len(state) == 74 and state['blocks.input.w'].shape == (256, 3, 7, 7)
    assert state['blocks.output.conv.b'].shape == (8192,)
    assert round(sum(value.numel() for value in state.values()) / 1e6, 1) == 53.8


def test_vqkd():
    torch.manual_seed(0)
    ours = VQKDTokenizer(SMALL, num_embed=32, embed_dims=6).eval()
    theirs = VQKD(SMALL, num_embed=32, embed_dims=6).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    pixels = torch.rand(3, 3, 32, 32) * 255
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    codes = ours.codes(pixels)
    assert codes.shape == (3, 4, 4) and len(codes.unique()) > 1
    assert torch.equal(codes.flatten(1), theirs((pixels - 127.5) / 127.5))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_vqkd_on_a_grid_that_is_no_square():
    ours = VQKDTokenizer(SMALL, num_embed=32, embed_dims=6).eval()
    assert ours.codes(torch.rand(1, 3, 16, 48) * 255).shape == (1, 2, 6)
