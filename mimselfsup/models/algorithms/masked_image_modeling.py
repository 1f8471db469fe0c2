"""Masked image modelling: hide patches, predict them. MAE, SimMIM and their kin are configs of it."""

import torch
from torch import Generator, Tensor

from mimselfsup.registry import MASKINGS, MODELS
from mimselfsup.structures import TokenMask, TokenSubset

from .base import BaseAlgorithm


@MODELS.register_module()
class MaskedImageModeling(BaseAlgorithm):
    """One encoder, a decoder and a target generator.

    Args:
        backbone: a mask-aware backbone (MaskedViT, MaskedSwin).
        masking: what to hide, of ``MASKINGS``.
        decoder: tokens in, predictions at the masked patches out. TransformerDecoder fills in what MaskedViT
            dropped; LinearDecoder reads off what it replaced; ProxyDecoder asks what it compressed.
        target: what is to be predicted, of every patch.
        loss: distance of predictions and targets.
        saliency: where attention comes from (EncoderAttention, AttentionBank), for a masking that ranks by it.
        masking_before: what to hide while the source of saliency knows nothing yet, as before the first refresh
            of a bank: the host's own masking.
        prediction_masking: what to predict, of ``MASKINGS``, where that is drawn for itself: then ``masking`` says what
            the encoder does not see, and a patch may be both seen and predicted, or neither (the outlook of
            SemanticMIM). Only for a ProxyDecoder; without it the masked patches are what is predicted.
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
        prediction_masking: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.masking = MASKINGS.build(masking)
        patch_size = self.backbone.patch_size
        self.target = MODELS.build(dict(patch_size=patch_size, **target))
        self.target.bind(self.data_preprocessor)
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
        self.prediction_masking = None if prediction_masking is None else MASKINGS.build(prediction_masking)
        self._check()

    def _check(self) -> None:
        hidden = getattr(self.backbone, 'hidden', 'replace')
        if hidden != self.decoder.reads:
            raise ValueError(
                f'MaskedImageModeling: {type(self.decoder).__name__} needs a backbone with '
                f'hidden={self.decoder.reads!r}, but {type(self.backbone).__name__} has hidden={hidden!r}'
            )
        self.check_saliency_source()
        if self.masking.throws and not hasattr(self.backbone, 'hidden'):
            raise ValueError(
                f'MaskedImageModeling: {type(self.masking).__name__} throws tokens, which '
                f'{type(self.backbone).__name__} cannot; set throw_ratio=0 or use a MaskedViT'
            )
        if self.prediction_masking is not None:
            if not getattr(self.decoder, 'predicts_anywhere', False):
                raise ValueError(
                    f'MaskedImageModeling: prediction_masking needs a decoder to which visible patches are as unknown '
                    f'as masked ones (ProxyDecoder), not {type(self.decoder).__name__}; remove it'
                )
            if self.prediction_masking.needs_saliency or self.prediction_masking.throws or self.masking.throws:
                raise ValueError(
                    f'MaskedImageModeling: prediction_masking={type(self.prediction_masking).__name__} with masking '
                    f'{type(self.masking).__name__}: neither may throw tokens, nor the first rank by saliency; use '
                    f'RandomMasking, BlockMasking or GridMasking'
                )
        if hasattr(self.decoder, 'bind'):
            self.decoder.bind(self.backbone)
        if self.saliency is not None:
            self.saliency.bind(self.backbone)

    def loss(self, inputs: Tensor | list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """``inputs``: images (B, 3, H, W), normalised; or those and the same crops in the size of the target's."""
        images, target_view = (inputs[0], inputs[-1]) if isinstance(inputs, list | tuple) else (inputs, inputs)
        grid = self.backbone.token_grid(images.shape[-2:])
        mask = self.draw_mask(images, data_samples, grid)
        tokens = self.backbone.encode(images, mask)
        asked = mask
        if self.prediction_masking is not None:
            asked = self.prediction_masking(grid, len(images), device=images.device)
        predicted = self.decoder(tokens, asked)  # (B, M, P): at the masked patches only
        masked = asked.masked_subset
        with torch.no_grad():
            target = self.target(target_view)  # of every patch: (B, N, P), or classes (B, N)
            wanted = self._at_masked(target, masked, grid)
        return dict(
            loss_reconstruction=self.loss_function(predicted, wanted, masked.valid),
            masked_fraction=mask.masked.float().mean(),
            **self.target.statistics(target),
        )

    def _at_masked(self, target: Tensor, masked: TokenSubset, grid: tuple[int, int]) -> Tensor:
        if target.shape[1] != grid[0] * grid[1]:
            raise ValueError(
                f'MaskedImageModeling: {type(self.target).__name__} sees {target.shape[1]} patches in its images, the '
                f'encoder {grid[0]} x {grid[1]}; give it a second view of the size that fits (TwoSizeCrop)'
            )
        return masked.gather(target) if target.ndim == 3 else target.gather(1, masked.index)

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
        """The mask that is drawn for ``images``, and the images with predictions where they are masked.

        What is not predicted as pixels is shown as its target draws it, visible patches too: HOG as glyphs, codes as
        their tokenizer decodes them. Raises ValueError for a target that cannot be shown.
        """
        mask, _, filled = self.predict(images, generator, data_samples)
        return mask, self.target.to_pixels(filled, images)

    @torch.no_grad()
    def predict(
        self, images: Tensor, generator: Generator | None = None, data_samples: list | None = None
    ) -> tuple[TokenMask, Tensor, Tensor]:
        """The mask that is drawn, the target of every patch, and the same with the predictions where it is masked."""
        grid = self.backbone.token_grid(images.shape[-2:])
        mask = self.draw_mask(images, data_samples, grid, generator)
        predicted = self.decoder(self.backbone.encode(images, mask), mask)
        true = self.target(images)
        return mask, true, self.target.fill_in(true, predicted, mask.masked_subset)
