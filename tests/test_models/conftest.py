"""Models small enough for a test."""

import pytest
import torch

TINY = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=96)


@pytest.fixture
def tiny_vit():
    """Builds a MaskedViT of 48 channels and 3 blocks on 32 px images with 8 px patches, in eval mode."""
    from mimselfsup.registry import MODELS

    def build(**kwargs):
        torch.manual_seed(0)
        kwargs = dict(arch=TINY, img_size=32, patch_size=8) | kwargs
        model = MODELS.build(dict(type='MaskedViT', **kwargs))
        model.init_weights()
        return randomise(model).eval()

    return build


def randomise(model):
    """Moves every parameter away from its initial value, so that no zero bias hides a mistake."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model
