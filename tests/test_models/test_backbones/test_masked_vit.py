import pytest
import timm
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import BEiTViT, VisionTransformer

from mimselfsup.models.backbones import MaskedViT
from mimselfsup.structures import TokenMask

from ..conftest import TINY


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def some_mask(thrown=False, rows=2, tokens=16):
    order = torch.rand(rows, tokens, generator=torch.Generator().manual_seed(3)).argsort(1)
    masked = order < 6
    return TokenMask(masked, (order >= 6) & (order < 10) if thrown else None)


@pytest.mark.parametrize('position', ['learned', 'sincos'])
def test_is_mmpretrains_vit_with_the_same_weights(tiny_vit, images, position):
    ours = tiny_vit(position=position, out_type='raw')
    theirs = VisionTransformer(arch=dict(TINY), img_size=32, patch_size=8, out_type='raw')
    theirs.eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for size in (images, torch.randn(2, 3, 48, 32)):
        expected = theirs(size)[0]
        torch.testing.assert_close(ours(size)[0], expected)
        tokens = ours.encode(size, cls_attention=True)
        torch.testing.assert_close(torch.cat([tokens.extra, tokens.patches], 1), expected, atol=2e-6, rtol=1e-5)
    ours.load_state_dict(theirs.state_dict(), strict=True)


def test_is_timms_vit_with_the_same_weights(tiny_vit, images):
    ours = tiny_vit(out_type='raw')
    theirs = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, mlp_ratio=2, num_classes=0
    ).eval()
    renamed = {}
    for key, value in ours.state_dict().items():
        for old, new in (
            ('patch_embed.projection', 'patch_embed.proj'),
            ('layers.', 'blocks.'),
            ('.ln1.', '.norm1.'),
            ('.ln2.', '.norm2.'),
            ('ffn.blocks.0.0', 'mlp.fc1'),
            ('ffn.blocks.1', 'mlp.fc2'),
        ):
            key = key.replace(old, new)
        renamed['norm.' + key.removeprefix('ln1.') if key.startswith('ln1.') else key] = value
    theirs.load_state_dict(renamed, strict=True)
    torch.testing.assert_close(ours(images)[0], theirs.forward_features(images), atol=2e-6, rtol=1e-5)


def test_shared_relative_positions_are_mmpretrains_beit(tiny_vit, images):
    ours = tiny_vit(position='shared_relative', out_type='raw')
    theirs = BEiTViT(
        arch=dict(TINY),
        img_size=32,
        patch_size=8,
        out_type='raw',
        final_norm=True,
        use_abs_pos_emb=False,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
        bias=True,
        layer_scale_init_value=0,
    )
    theirs.eval()
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert (missing, unexpected) == ([], [])
    expected = theirs(images)[0]
    torch.testing.assert_close(ours(images)[0], expected, atol=2e-6, rtol=1e-5)
    tokens = ours.encode(images)
    torch.testing.assert_close(torch.cat([tokens.extra, tokens.patches], 1), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize('position', ['learned', 'shared_relative'])
def test_an_empty_mask_equals_none(tiny_vit, images, position):
    for hidden in ('drop', 'replace'):
        model = tiny_vit(hidden=hidden, position=position)
        plain, empty = model.encode(images), model.encode(images, TokenMask.none(2, 16))
        torch.testing.assert_close(empty.patches, plain.patches)
        torch.testing.assert_close(empty.extra, plain.extra)


@pytest.mark.parametrize('position', ['learned', 'shared_relative'])
def test_dropping_equals_running_the_blocks_on_the_rest_alone(tiny_vit, images, position):
    """Row by row, with an attention written out in full."""
    model = tiny_vit(hidden='drop', position=position)
    mask = some_mask()
    tokens = model.encode(images, mask)
    for row in range(2):
        keep = torch.cat([torch.tensor([0]), 1 + mask.visible[row].nonzero()[:, 0]])
        x = torch.cat([model.cls_token, model.patch_embed(images[row : row + 1])[0]], 1)
        x = x + (0 if position == 'shared_relative' else model.pos_embed)
        x = x[:, keep]
        bias = model.rel_pos_bias()[:, keep][:, :, keep] if position == 'shared_relative' else 0.0
        for layer in model.layers:
            q, k, v = layer.attn.qkv(layer.ln1(x)).view(1, len(keep), 3, 3, 16).permute(2, 0, 3, 1, 4)
            attention = (q @ k.transpose(-1, -2) / 4 + bias).softmax(-1)
            x = x + layer.attn.proj((attention @ v).transpose(1, 2).flatten(2))
            x = layer.ffn(layer.ln2(x), identity=x)
        x = model.ln1(x)
        torch.testing.assert_close(tokens.extra[row], x[0, :1], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(tokens.patches[row], x[0, 1:], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize('hidden', ['drop', 'replace'])
@pytest.mark.parametrize('position', ['learned', 'shared_relative'])
def test_pixels_of_masked_and_thrown_patches_have_no_influence(tiny_vit, images, hidden, position):
    model = tiny_vit(hidden=hidden, position=position)
    mask = some_mask(thrown=True)
    images.requires_grad_()
    tokens = model.encode(images, mask)
    (tokens.extra.square().sum() + tokens.patches.square().sum()).backward()
    gradient = images.grad.unfold(2, 8, 8).unfold(3, 8, 8).abs().amax((1, 4, 5)).flatten(1)  # (B, N)
    assert (gradient[~mask.visible] == 0).all()
    assert (gradient[mask.visible] > 0).all()


def test_replaced_tokens_keep_their_place(tiny_vit, images):
    """With all patches masked, what comes out depends on positions alone: two images give the same tokens."""
    model = tiny_vit(hidden='replace')
    tokens = model.encode(images, TokenMask(torch.ones(2, 16, dtype=torch.bool)))
    torch.testing.assert_close(tokens.patches[0], tokens.patches[1])
    assert torch.cdist(tokens.patches[0], tokens.patches[0]).fill_diagonal_(9).min() > 1e-3


@pytest.mark.parametrize('hidden', ['drop', 'replace'])
def test_rows_with_different_counts_equal_rows_alone(tiny_vit, images, hidden):
    model = tiny_vit(hidden=hidden, position='shared_relative')
    order = torch.rand(2, 16, generator=torch.Generator().manual_seed(5)).argsort(1)
    mask = TokenMask(order < torch.tensor([[3], [9]]), order >= torch.tensor([[14], [15]]))
    tokens = model.encode(images, mask)
    subset = mask.visible_subset if hidden == 'drop' else mask.kept_subset
    for row in range(2):
        alone = model.encode(images[row : row + 1], TokenMask(mask.masked[row : row + 1], mask.thrown[row : row + 1]))
        torch.testing.assert_close(tokens.extra[row], alone.extra[0], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(tokens.patches[row][subset.valid[row]], alone.patches[0], atol=2e-6, rtol=1e-5)


def test_cls_attention_is_the_last_blocks_row(tiny_vit, images):
    model = tiny_vit().double()
    images = images.double()
    seen = {}
    handle = model.layers[-1].attn.register_forward_hook(lambda _, inputs, __: seen.update(x=inputs[0]))
    model(images)
    handle.remove()
    q, k, _ = model.layers[-1].attn.qkv(seen['x']).view(2, 17, 3, 3, 16).permute(2, 0, 3, 1, 4)
    full = (q @ k.transpose(-1, -2) / 4).softmax(-1)  # (B, heads, T, T)
    row = model.encode(images, cls_attention=True).cls_attention
    torch.testing.assert_close(row.double(), full[:, :, 0, 1:], atol=1e-6, rtol=0)


class SeveralCLS(VisionTransformer):
    """mmpretrain's own ViT with room for several [CLS] tokens, which its arguments do not offer."""

    def __init__(self, count, **kwargs):
        self.num_extra_tokens = count
        super().__init__(**kwargs)
        self.cls_token = torch.nn.Parameter(torch.zeros(1, count, self.embed_dims))


@pytest.mark.parametrize('count', [2, 8, 64])
@pytest.mark.parametrize('position', ['learned', 'sincos'])
def test_several_cls_tokens_are_those_of_a_plain_vit(tiny_vit, images, count, position):
    ours = tiny_vit(hidden='compress', num_cls_tokens=count, position=position, out_type='raw')
    assert torch.cdist(ours.cls_token, ours.cls_token)[0].fill_diagonal_(9).min() > 0.1  # none a copy of another
    theirs = SeveralCLS(count, arch=dict(TINY), img_size=32, patch_size=8, out_type='raw')
    theirs.eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert ours.pos_embed.shape == (1, count + 16, 48)
    for size in (images, torch.randn(2, 3, 48, 32)):
        expected = theirs(size)[0]
        torch.testing.assert_close(ours(size)[0], expected)
        tokens = ours.encode(size)
        torch.testing.assert_close(tokens.extra, expected[:, :count], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(tokens.patches, expected[:, count:], atol=2e-6, rtol=1e-5)
        assert tokens.proxies is None
    expected = theirs(images)[0]
    for out_type, value in (
        ('cls_token', expected[:, :count].mean(1)),
        ('featmap', expected[:, count:].transpose(1, 2).unflatten(2, (4, 4))),
    ):
        ours.out_type = out_type
        torch.testing.assert_close(ours(images)[0], value)


def test_attention_of_several_cls_tokens_is_their_mean(tiny_vit, images):
    model = tiny_vit(num_cls_tokens=4).double()
    seen = {}
    handle = model.layers[-1].attn.register_forward_hook(lambda _, inputs, __: seen.update(x=inputs[0]))
    model(images.double())
    handle.remove()
    q, k, _ = model.layers[-1].attn.qkv(seen['x']).view(2, 20, 3, 3, 16).permute(2, 0, 3, 1, 4)
    full = (q @ k.transpose(-1, -2) / 4).softmax(-1)
    row = model.encode(images.double(), cls_attention=True).cls_attention
    torch.testing.assert_close(row.double(), full[:, :, :4, 4:].mean(2), atol=1e-6, rtol=0)


def test_compressing_is_dropping_that_shows_the_cls_tokens_of_every_block(tiny_vit, images):
    model = tiny_vit(hidden='compress', num_cls_tokens=3)
    after = []
    handles = [layer.register_forward_hook(lambda _, __, out: after.append(out)) for layer in model.layers]
    tokens = model.encode(images, some_mask(thrown=True))
    for handle in handles:
        handle.remove()
    assert len(tokens.proxies) == len(after) == 3
    for proxies, output in zip(tokens.proxies, after, strict=True):
        torch.testing.assert_close(proxies, output[:, :3])
    model.hidden = 'drop'
    dropped = model.encode(images, some_mask(thrown=True))
    torch.testing.assert_close(tokens.extra, dropped.extra)
    torch.testing.assert_close(tokens.patches, dropped.patches)
    assert dropped.proxies is None


@pytest.mark.parametrize('count', [1, 4])
def test_a_checkpoint_with_another_number_of_cls_tokens_is_refused(tiny_vit, count):
    saved = tiny_vit(num_cls_tokens=8).state_dict()
    model = tiny_vit(num_cls_tokens=count)
    with pytest.raises(ValueError, match=rf'has 8 \[CLS\] tokens and the model {count}; set num_cls_tokens=8'):
        model.load_state_dict(saved, strict=False)


@pytest.mark.parametrize(
    ('arch', 'width', 'depth', 'heads'),
    [('tiny', 192, 12, 3), ('small', 384, 12, 6), ('deit-small', 384, 12, 6), ('base', 768, 12, 12)],
)
def test_names_mean_what_the_papers_mean(arch, width, depth, heads):
    with torch.device('meta'):
        model = MaskedViT(arch)
    assert (model.embed_dims, len(model.layers), model.layers[0].attn.num_heads) == (width, depth, heads)


def test_initial_weights():
    mae = MaskedViT('tiny', position='sincos', weight_init='xavier')
    mae.init_weights()
    fan = (6 / (192 + 3 * 16 * 16)) ** 0.5  # Xavier-uniform on the patch embedding as a (192, 768) matrix
    weight = mae.patch_embed.projection.weight.detach()
    assert weight.abs().max() <= fan and weight.std() == pytest.approx(fan / 3**0.5, rel=0.02)
    assert mae.cls_token.detach().std() == pytest.approx(0.02, rel=0.3)
    simmim = MaskedViT('tiny', hidden='replace', position='shared_relative', weight_init='trunc_normal_rescaled')
    simmim.init_weights()
    for depth in (1, 12):
        layer = simmim.layers[depth - 1]
        assert layer.attn.proj.weight.detach().std() == pytest.approx(0.02 / (2 * depth) ** 0.5, rel=0.05)
        assert layer.ffn.layers[1].weight.detach().std() == pytest.approx(0.02 / (2 * depth) ** 0.5, rel=0.05)
        assert layer.ffn.layers[0][0].weight.detach().std() == pytest.approx(0.02, rel=0.05)
        assert not layer.ffn.layers[0][0].bias.any()


@torch.no_grad()
def test_positions_can_be_resized_as_dino_does(tiny_vit, images):
    exact, dino = tiny_vit(out_type='raw'), tiny_vit(out_type='raw', position_resize='dino')
    assert torch.equal(dino(images)[0], exact(images)[0])
    small = images[:, :, :24, :16]
    tokens = dino.encode(small)
    both = torch.cat([tokens.extra, tokens.patches], 1)
    torch.testing.assert_close(dino(small)[0], both, atol=2e-6, rtol=1e-5)
    # The exact resize of another table: the one of which it makes what DINO's makes of this one.
    maps = exact.pos_embed[:, 1:].view(1, 4, 4, -1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, scale_factor=(3.1 / 4, 2.1 / 4), mode='bicubic')
    expected = VisionTransformer(arch=dict(TINY), img_size=(24, 16), patch_size=8, out_type='raw')
    expected.eval()
    table = torch.cat([exact.pos_embed[:, :1], maps.flatten(2).transpose(1, 2)], 1)
    expected.load_state_dict({**exact.state_dict(), 'pos_embed': table})
    torch.testing.assert_close(both, expected(small)[0], atol=2e-6, rtol=1e-5)
    assert not torch.allclose(both, exact(small)[0], atol=1e-4)


def test_errors_say_what_is_allowed(tiny_vit, images):
    with pytest.raises(ValueError, match=r"hidden='gone', must be one of \('drop', 'replace', 'compress'\)"):
        MaskedViT('tiny', hidden='gone')
    with pytest.raises(ValueError, match=r"position_resize='iBOT', must be one of \('exact', 'dino'\)"):
        MaskedViT('tiny', position_resize='iBOT')
    with pytest.raises(ValueError, match="arch='tny', must be one of"):
        MaskedViT('tny')
    with pytest.raises(ValueError, match='num_cls_tokens=0, must be at least 1'):
        MaskedViT('tiny', num_cls_tokens=0)
    with pytest.raises(ValueError, match=r'has biases for one \[CLS\] token, not for num_cls_tokens=8'):
        MaskedViT('tiny', num_cls_tokens=8, position='shared_relative')
    with pytest.raises(ValueError, match=r"hidden='compress' hands out \[CLS\] tokens; remove with_cls_token=False"):
        MaskedViT('tiny', hidden='compress', with_cls_token=False, out_type='avg_featmap')
    model = tiny_vit()
    with pytest.raises(ValueError, match='images of 30 x 32 pixels are no whole number of patches of 8 x 8'):
        model.encode(images[:, :, :30])
    with pytest.raises(ValueError, match=r'the mask is \(2, 17\), expected \(2, 16\)'):
        model.encode(images, TokenMask.none(2, 17))
