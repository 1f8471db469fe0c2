import torch

from mimselfsup.models.backbones import Tokens, image_feature


def test_the_feature_of_an_image_is_cls_or_the_mean_of_its_patches():
    extra, patches = torch.randn(2, 1, 4), torch.randn(2, 6, 4)
    assert torch.equal(image_feature(Tokens(extra, patches, (2, 3))), extra[:, 0])
    torch.testing.assert_close(image_feature(Tokens(extra[:, :0], patches, (2, 3))), patches.sum(1) / 6)
