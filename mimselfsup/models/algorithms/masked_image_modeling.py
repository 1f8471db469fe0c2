"""Masked image modelling: hide patches, predict them. MAE, SimMIM and their kin are configs of it."""

import torch
from torch import Generator, Tensor

from mimselfsup.registry import MASKINGS, MODELS
from mimselfsup.structures import TokenMask

from .base import BaseAlgorithm


@MODELS.register_module()
class MaskedImageModeling(BaseAlgorithm):
    """One encoder, a decoder and a target generator.

    Args:
        backbone: a mask-aware backbone (MaskedViT, MaskedSwin).
        masking: what to hide, of ``MASKINGS``.
        decoder: tokens in, predictions at the masked patches out. TransformerDecoder fills in what MaskedViT
            dropped; LinearDecoder reads off what it replaced.
        target: what is to be predicted, of every patch.
        loss: distance of predictions and targets.
        saliency: where attention comes from (EncoderAttention, AttentionBank), for a masking that ranks by it.
        masking_before: what to hide while the source of saliency knows nothing yet, as before the first refresh
            of a bank: the host's own masking.
        data_preprocessor: normalisation; see mmpretrain's SelfSupDataPreprocessor.

    Sizes that follow from the backbone and the target (channels, grid, patch size) are filled in.
    """

    def __init__(
        self,
        backbone: dict,
        masking: dict,
        decoder: dict,
        target: dict,
        loss: dict,
        saliency: dict | None = None,
        masking_before: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.masking = MASKINGS.build(masking)
        patch_size = self.backbone.patch_size
        self.target = MODELS.build(dict(patch_size=patch_size, **target))
        sizes = dict(
            in_channels=self.backbone.out_channels,
            out_channels=self.target.out_channels,
            grid=tuple(self.backbone.patch_resolution),
            cells=self.backbone.out_stride[0] // patch_size[0],
        )
        self.decoder = MODELS.build(dict(**sizes, **decoder))
        self.loss_function = MODELS.build(loss)
        self.saliency = None if saliency is None else MODELS.build(saliency)
        self.masking_before = None if masking_before is None else MASKINGS.build(masking_before)
        self._check()

    def _check(self) -> None:
        hidden = getattr(self.backbone, 'hidden', 'replace')
        if hidden != self.decoder.reads:
            raise ValueError(
                f'MaskedImageModeling: {type(self.decoder).__name__} needs a backbone with '
                f'hidden={self.decoder.reads!r}, but {type(self.backbone).__name__} has hidden={hidden!r}'
            )
        if self.masking.needs_saliency and self.saliency is None:
            raise ValueError(
                f'MaskedImageModeling: masking {type(self.masking).__name__} ranks patches by saliency, but there is '
                f"no source of it; add saliency=dict(type='EncoderAttention') or dict(type='AttentionBank')"
            )
        if self.masking_before is not None and self.masking_before.needs_saliency:
            raise ValueError(
                f'MaskedImageModeling: masking_before={type(self.masking_before).__name__} is for the time before '
                f'there is saliency, but it needs some; use RandomMasking, BlockMasking or GridMasking'
            )
        if self.masking.throws and not hasattr(self.backbone, 'hidden'):
            raise ValueError(
                f'MaskedImageModeling: {type(self.masking).__name__} throws tokens, which '
                f'{type(self.backbone).__name__} cannot; set throw_ratio=0 or use a MaskedViT'
            )
        if self.saliency is not None:
            self.saliency.bind(self.backbone)

    def loss(self, images: Tensor, data_samples: list | None = None) -> dict[str, Tensor]:
        """``images`` (B, 3, H, W), normalised."""
        grid = self.backbone.token_grid(images.shape[-2:])
        mask = self.draw_mask(images, data_samples, grid)
        tokens = self.backbone.encode(images, mask)
        predicted = self.decoder(tokens, mask)  # (B, M, P): at the masked patches only
        masked = mask.masked_subset
        with torch.no_grad():
            target = masked.gather(self.target(images))
        return dict(
            loss_reconstruction=self.loss_function(predicted, target, masked.valid),
            masked_fraction=mask.masked.float().mean(),
        )

    def draw_mask(
        self,
        images: Tensor,
        data_samples: list | None,
        grid: tuple[int, int],
        generator: Generator | None = None,
    ) -> TokenMask:
        """What to hide of each view; ranked by saliency where the masking needs it and there is some."""
        if not self.masking.needs_saliency:
            return self.masking(grid, len(images), generator=generator, device=images.device)
        saliency = self.saliency(images, data_samples, grid)
        if saliency is None:
            if self.masking_before is not None:
                return self.masking_before(grid, len(images), generator=generator, device=images.device)
            saliency = images.new_ones(len(images), grid[0] * grid[1])
        return self.masking(grid, len(images), saliency, generator)

    @torch.no_grad()
    def reconstruct(
        self, images: Tensor, generator: Generator | None = None, data_samples: list | None = None
    ) -> tuple[TokenMask, Tensor]:
        """The mask that is drawn for ``images``, and the images with predictions where they are masked."""
        grid = self.backbone.token_grid(images.shape[-2:])
        mask = self.draw_mask(images, data_samples, grid, generator)
        predicted = self.decoder(self.backbone.encode(images, mask), mask)
        patches = self.target(images)
        masked = mask.masked_subset
        if masked.valid is not None:
            predicted = torch.where(masked.valid.unsqueeze(-1), predicted, masked.gather(patches))
        index = masked.index.unsqueeze(-1).expand_as(predicted)
        filled = patches.scatter(1, index, predicted.to(patches.dtype))
        return mask, self.target.to_pixels(filled, images)
