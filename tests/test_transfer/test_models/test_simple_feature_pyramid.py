import pytest
import torch
import torch.nn.functional as F

from mimselfsup.transfer.models import SimpleFeaturePyramid


def channel_norm(maps, layer):
    mean = maps.mean(1, keepdim=True)
    variance = maps.var(1, keepdim=True, unbiased=False)
    normed = (maps - mean) / (variance + 1e-6).sqrt()
    return normed * layer.weight[:, None, None] + layer.bias[:, None, None]


def test_levels_are_the_formula_of_vitdet():
    torch.manual_seed(0)
    neck = SimpleFeaturePyramid(8, 6)
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter)
    last = torch.randn(2, 8, 3, 5)
    up1, norm, _, up2, *_ = neck.levels[0]
    maps = F.conv_transpose2d(last, up1.weight, up1.bias, stride=2)
    four = F.conv_transpose2d(F.gelu(channel_norm(maps, norm)), up2.weight, up2.bias, stride=2)
    two = F.conv_transpose2d(last, neck.levels[1][0].weight, neck.levels[1][0].bias, stride=2)
    outputs = neck((torch.randn(1), last))  # the last input counts
    for level, rescaled, got in zip(neck.levels, (four, two, last, F.max_pool2d(last, 2)), outputs, strict=False):
        project, norm1, smooth, norm2 = level[-4:]
        maps = channel_norm(F.conv2d(rescaled, project.weight), norm1)
        maps = channel_norm(F.conv2d(maps, smooth.weight, padding=1), norm2)
        torch.testing.assert_close(got, maps, rtol=1e-4, atol=1e-4)
    assert torch.equal(outputs[4], outputs[3][:, :, ::2, ::2])


def test_four_levels_for_those_who_need_no_fifth():
    assert len(SimpleFeaturePyramid(8, num_outs=4)(torch.randn(1, 8, 4, 4))) == 4


@pytest.mark.parametrize('wrong, message', [(dict(num_outs=3), 'num_outs=3'), (dict(in_channels=6), 'in_channels=6')])
def test_arguments_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        SimpleFeaturePyramid(**{'in_channels': 8, **wrong})
