import math

import pytest
import torch
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.models.selfsup import SimMIMSwinTransformer

from mimselfsup.models.backbones import MaskedSwin
from mimselfsup.structures import TokenMask

from ..conftest import randomise

SWIN = dict(
    arch=dict(embed_dims=24, depths=[2, 2], num_heads=[2, 4]),
    img_size=32,
    stage_cfgs=dict(block_cfgs=dict(window_size=4)),
    out_indices=(1,),
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = MaskedSwin(**SWIN)
    model.init_weights()
    return randomise(model).eval()


def test_is_mmpretrains_swin_with_the_same_weights(model):
    theirs = SwinTransformer(**SWIN, drop_path_rate=0.0)
    theirs.eval()
    weights = {key: value for key, value in model.state_dict().items() if key != 'mask_token'}
    theirs.load_state_dict(weights, strict=True)
    images = torch.randn(2, 3, 32, 32)
    expected = theirs(images)[0]  # (B, 48, 4, 4)
    torch.testing.assert_close(model(images)[0], expected)
    torch.testing.assert_close(model.encode(images).patches, expected.flatten(2).transpose(1, 2))


def test_masks_as_mmpretrains_simmim(model):
    theirs = SimMIMSwinTransformer(**SWIN, drop_path_rate=0.0)
    theirs.eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32)
    masked = torch.rand(2, 64) < 0.6
    tokens = model.encode(images, TokenMask(masked))
    expected = theirs(images, masked.float().view(2, 8, 8))[0]
    assert tokens.grid == (4, 4) and tokens.extra.shape == (2, 0, 48)
    torch.testing.assert_close(tokens.patches, expected.flatten(2).transpose(1, 2), atol=2e-6, rtol=1e-5)


def test_refuses_what_windows_cannot_do(model):
    images = torch.randn(2, 3, 32, 32)
    nothing = torch.zeros(2, 64, dtype=torch.bool)
    thrown = nothing.clone()
    thrown[:, 0] = True
    with pytest.raises(ValueError, match='tokens cannot be thrown'):
        model.encode(images, TokenMask(nothing, thrown))
    with pytest.raises(ValueError, match=r'the mask is \(2, 16\), expected \(2, 64\)'):
        model.encode(images, TokenMask.none(2, 16))
    with pytest.raises(ValueError, match='sides must be multiples of 8'):
        model.encode(torch.randn(1, 3, 36, 32))


# ------------------------------------------------------------------------------------------------ local views

FOUR_STAGES = dict(arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 1, 1, 1]), img_size=224)
UNSHIFTED = dict(block_cfgs=dict(shift=False))


def narrow_swin(**kwargs) -> MaskedSwin:
    torch.manual_seed(0)
    model = MaskedSwin(**FOUR_STAGES, **kwargs)
    model.init_weights()
    return randomise(model).eval()


def mmpretrains(model: MaskedSwin, **kwargs) -> SwinTransformer:
    theirs = SwinTransformer(**FOUR_STAGES, drop_path_rate=0.0, **kwargs)
    theirs.eval()
    weights = {key: value for key, value in model.state_dict().items() if key != 'mask_token'}
    theirs.load_state_dict(weights, strict=True)
    return theirs


@torch.no_grad()
def test_wherever_mmpretrains_runs_the_output_is_exactly_its_own():
    model = narrow_swin()
    theirs = mmpretrains(model)
    for size in ((224, 224), (256, 320)):  # the last maps are 7 x 7, which is not shifted, and 8 x 10, which is
        images = torch.randn(1, 3, *size)
        expected = theirs(images)[0]
        assert torch.equal(model(images)[0], expected)
        assert torch.equal(model.encode(images).patches, expected.flatten(2).transpose(1, 2))


@torch.no_grad()
def test_local_views_are_padded_and_not_shifted_where_one_window_sees_all():
    model = narrow_swin()
    # At 96 px the maps have 24, 12, 6 and 3 tokens a side, the window has 7.
    theirs = mmpretrains(model, pad_small_map=True, stage_cfgs=[{}, {}, UNSHIFTED, UNSHIFTED])
    images = torch.randn(2, 3, 96, 96)
    tokens = model.encode(images)
    assert tokens.grid == (3, 3)
    assert torch.equal(tokens.patches, theirs(images)[0].flatten(2).transpose(1, 2))
    assert torch.equal(model(images)[0], theirs(images)[0])
    wide = torch.randn(1, 3, 96, 256)  # last map 3 x 8: padded along one side, and to two windows along the other
    assert torch.equal(model(wide)[0], theirs(wide)[0])


@torch.no_grad()
def test_mmpretrains_flag_keeps_its_meaning():
    model = narrow_swin(pad_small_map=True)
    theirs = mmpretrains(model, pad_small_map=True)
    for size in (224, 96):
        images = torch.randn(1, 3, size, size)
        assert torch.equal(model(images)[0], theirs(images)[0])


# ------------------------------------------------------------------------------------------------ attention


def attention_received(model: MaskedSwin, images: torch.Tensor, shift: int) -> torch.Tensor:
    """(B, heads, h, w) from the softmax map that the last block computes, token by token.

    Its window is 4. Each token of the map asks once; what goes to padding is lost.
    """
    seen = []
    hook = model.stages[-1].blocks[-1].attn.w_msa.softmax.register_forward_hook(lambda *call: seen.append(call[2]))
    height, width = model.encode(images).grid
    hook.remove()
    rows, columns = (4 * math.ceil(side / 4) for side in (height, width))
    attention = seen[0].view(len(images), rows // 4, columns // 4, -1, 4, 4, 4, 4)  # ..., query, key
    received = torch.zeros(len(images), attention.shape[3], rows, columns, dtype=attention.dtype)

    def place(row: int, column: int) -> tuple[int, int, int, int]:
        """Window and place within it of a token; the map was rolled up and to the left by ``shift``."""
        row, column = (row - shift) % rows, (column - shift) % columns
        return row // 4, column // 4, row % 4, column % 4

    for query in ((i, j) for i in range(height) for j in range(width)):
        for key in ((i, j) for i in range(height) for j in range(width)):
            asks, gives = place(*query), place(*key)
            if asks[:2] == gives[:2]:
                window = attention[:, asks[0], asks[1]]
                received[:, :, key[0], key[1]] += window[:, :, asks[2], asks[3], gives[2], gives[3]]
    return received[:, :, :height, :width] / (height * width)


@pytest.mark.parametrize(
    ('size', 'shift', 'whole'),
    [
        ((32, 32), 0, True),  # one window
        ((64, 96), 2, True),  # six of them, shifted: some queries see a part of their window only
        ((48, 64), 2, True),  # padded, where the shift keeps tokens and padding apart
        ((40, 64), 2, False),  # padded
        ((16, 24), 0, False),  # smaller than a window
    ],
)
@torch.no_grad()
def test_attention_is_what_tokens_receive_in_the_last_block(model, size, shift, whole):
    last = model.stages[-1].blocks[-1].attn
    for parameter in last.parameters():  # far from the uniform attention of which every formula is right
        torch.nn.init.normal_(parameter, std=0.5)
    images = torch.randn(2, 3, *size)
    expected = attention_received(model, images, shift)
    given = model.encode(images, cls_attention=True).cls_attention
    rows, columns = model.token_grid(size)
    assert given.shape == (2, 4, rows * columns)
    cells = given.view(2, 4, rows // 2, 2, columns // 2, 2)
    assert torch.equal(cells, cells[:, :, :, :1, :, :1].expand_as(cells))  # the patches of a token share alike
    assert expected.std() > 0.3 * expected.mean()
    torch.testing.assert_close(cells.sum((3, 5)), expected, atol=1e-6, rtol=1e-5)
    total = given.sum(-1)
    if whole:
        torch.testing.assert_close(total, torch.ones(2, 4))
    else:
        assert total.max() < 1.0001 and total.min() < 0.95


@torch.no_grad()
def test_attention_with_mmpretrains_shift_of_small_maps():
    torch.manual_seed(0)
    model = MaskedSwin(**SWIN, pad_small_map=True)
    model.init_weights()
    randomise(model).eval()
    for size in ((32, 32), (24, 16)):
        images = torch.randn(2, 3, *size)
        given = model.encode(images, cls_attention=True).cls_attention.view(2, 4, size[0] // 8, 2, size[1] // 8, 2)
        expected = attention_received(model, images, shift=2)
        torch.testing.assert_close(given.sum((3, 5)), expected, atol=1e-6, rtol=1e-5)


def test_asking_for_attention_changes_no_token_and_costs_no_gradient(model):
    images = torch.randn(2, 3, 64, 64)
    mask = TokenMask(torch.rand(2, 256) < 0.5)
    plain, asked = model.encode(images, mask), model.encode(images, mask, cls_attention=True)
    assert plain.cls_attention is None
    assert torch.equal(asked.patches, plain.patches)
    assert asked.patches.requires_grad and not asked.cls_attention.requires_grad
    with torch.autocast('cpu', torch.bfloat16):
        half = model.encode(images, mask, cls_attention=True)
    assert half.cls_attention.dtype == torch.float32
    torch.testing.assert_close(half.cls_attention, asked.cls_attention, atol=3e-5, rtol=0.03)


def test_downstream_it_has_no_mask_token_and_takes_no_mask():
    arch = dict(embed_dims=8, depths=[1], num_heads=[1])
    model = MaskedSwin(arch, img_size=28, out_indices=(0,), with_mask_token=False)
    model.init_weights()
    assert 'mask_token' not in model.state_dict()
    images = torch.randn(1, 3, 28, 28)
    assert model.encode(images).patches.shape == (1, 49, 8)
    with pytest.raises(ValueError, match='with_mask_token=False'):
        model.encode(images, TokenMask(torch.zeros(1, 49, dtype=torch.bool)))
