"""MST's decoder against a plain build of it, and the rule that a view is a batch of its own."""

import copy

import pytest
import torch
from torch import nn

from mimselfsup.models.backbones import Tokens
from mimselfsup.models.necks import ConvDecoder


def tokens_of(patches: torch.Tensor, grid: tuple[int, int]) -> Tokens:
    return Tokens(torch.full((len(patches), 1, patches.shape[2]), 1e3), patches, grid)  # [CLS] must not matter


def plain(decoder: ConvDecoder, grid: tuple[int, int]) -> nn.Sequential:
    """The published order, [conv, BN, ReLU, upsampling] and the 1x1 convolution last, with the decoder's weights."""
    layers = []
    for stage in decoder.stages:
        norm = nn.BatchNorm2d(stage.bn.num_features)
        norm.load_state_dict(stage.bn.state_dict())
        conv = nn.Conv2d(stage.conv.in_channels, stage.conv.out_channels, 3, padding=1, bias=False)
        conv.load_state_dict(stage.conv.state_dict())
        layers += [conv, norm, nn.ReLU(), nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)]
    if decoder.stride & (decoder.stride - 1):
        size = tuple(side * decoder.stride for side in grid)
        layers.append(nn.Upsample(size=size, mode='bilinear', align_corners=False))
    return nn.Sequential(*layers, copy.deepcopy(decoder.to_pixels))


def build(stride: int, **kwargs) -> ConvDecoder:
    torch.manual_seed(stride)
    decoder = ConvDecoder(in_channels=12, stride=stride, channels=16, **kwargs)
    decoder.init_weights()
    for stage in decoder.stages:
        nn.init.normal_(stage.bn.bias)
        nn.init.uniform_(stage.bn.running_var, 0.5, 2.0)
    return decoder


@pytest.mark.parametrize(('stride', 'stages'), [(2, 1), (6, 2), (14, 3), (16, 4), (32, 5)])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
@torch.no_grad()
def test_restores_what_the_published_order_of_layers_does(stride, stages, training, norm):
    decoder = build(stride, norm=norm).train(training)
    assert len(decoder.stages) == stages
    grid = (2, 3)
    patches = torch.randn(4, 6, 12)
    maps = torch.stack([row.T.reshape(12, *grid) for row in patches])  # row-major
    expected = plain(decoder, grid).train(training)(maps)
    restored = decoder(tokens_of(patches, grid))
    assert restored.shape == (4, 3, 2 * stride, 3 * stride)
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=1e-4)


def test_every_view_is_a_batch_of_its_own():
    decoder = build(4)
    apart = copy.deepcopy(decoder)
    first, second = torch.randn(3, 4, 12), 2 * torch.randn(3, 4, 12) + 1
    together = decoder(tokens_of(torch.cat([first, second]), (2, 2)), views=2)
    separate = torch.cat([apart(tokens_of(view, (2, 2))) for view in (first, second)])
    assert torch.equal(together, separate)
    for ours, theirs in zip(decoder.stages, apart.stages, strict=True):
        assert ours.bn.num_batches_tracked == 2
        assert torch.equal(ours.bn.running_mean, theirs.bn.running_mean)
        assert torch.equal(ours.bn.running_var, theirs.bn.running_var)
    joint = build(4)
    assert not torch.allclose(joint(tokens_of(torch.cat([first, second]), (2, 2))), together, atol=1e-2)
    assert joint.stages[0].bn.num_batches_tracked == 1


def test_about_2_7_million_parameters_for_vit_small():
    with torch.device('meta'):
        decoder = ConvDecoder(in_channels=384, stride=16)
    # 3x3 convolutions without bias, two per channel of each BN, and the 1x1 convolution.
    expected = 9 * 256 * (384 + 3 * 256) + 4 * 2 * 256 + 3 * 256 + 3
    assert sum(parameter.numel() for parameter in decoder.parameters()) == expected == 2_657_027


def test_restoring_constant_images_is_learned_quickly():
    torch.manual_seed(0)
    decoder = build(4)
    colours = torch.randn(8, 3)
    patches = (colours @ torch.randn(3, 12))[:, None].expand(8, 4, 12) + 0.1 * torch.randn(8, 4, 12)
    target = colours[:, :, None, None].expand(8, 3, 8, 8)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        loss = (decoder(tokens_of(patches, (2, 2)), views=2) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.6
    assert losses[-1] < 0.35 * losses[0]


def test_a_map_from_tokens_needs_no_copy():
    """Channels-last, which convolutions on a GPU are fastest with."""
    seen = []
    decoder = build(4).eval()
    decoder.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    patches = torch.randn(2, 6, 12)
    decoder(tokens_of(patches, (2, 3)))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert seen[0].data_ptr() == patches.data_ptr()


def test_errors_say_what_is_allowed():
    with pytest.raises(ValueError, match='stride=1, must be at least 2'):
        ConvDecoder(8, 1)
    with pytest.raises(ValueError, match='channels=0, must be at least 1'):
        ConvDecoder(8, 4, channels=0)
    with pytest.raises(ValueError, match=r"norm='LN', must be one of \('BN', 'SyncBN'\)"):
        ConvDecoder(8, 4, norm='LN')
    decoder = build(4)
    with pytest.raises(ValueError, match=r"5 tokens for a grid of 2 x 3; .*\(hidden='replace'\)"):
        decoder(tokens_of(torch.randn(2, 5, 12), (2, 3)))
    with pytest.raises(ValueError, match='3 rows cannot be 2 views'):
        decoder(tokens_of(torch.randn(3, 6, 12), (2, 3)), views=2)
