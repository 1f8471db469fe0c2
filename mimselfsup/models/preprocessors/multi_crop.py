"""The colours of self-distillation's views: drawn per view, applied to all views of one size at once."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from torch import Tensor

from mimselfsup.registry import MODELS

from .image_operations import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    solarize,
)

JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
_CPU_CHUNK = 2**20  # values that one thread works on before it takes the next images: so they stay in its cache

PerKind = float | Sequence[float]
Step = tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]


class Draws(NamedTuple):
    """What happens to each of n images. On the host: which images a step meets is known without asking the device."""

    order: Tensor  # int64 (n, 4): numbers of JITTER in the order of their turns
    strength: Tensor  # (n, 4): the parameter of each of JITTER
    radius: Tensor  # (n,): of the blur
    happens: Tensor  # bool (n, 4): jitter, grayscale, blur, solarize


@MODELS.register_module()
class MultiCropPreprocessor(SelfSupDataPreprocessor):
    """Colour jitter, grayscale, blur and solarisation of the views of ``MultiCrop``; then normalisation.

    That is what happens in training to a list of views, uint8 (B, 3, H, W) each; out comes float32, in the same
    order. A single tensor of images, and anything outside of training, is normalised only. Every view of every image
    draws for itself, from torch's generator of the CPU, whatever the device: equal seeds give equal views on all
    devices. Data samples stay in host memory.

    The four parts of the jitter come in random order. Source of order and defaults: DINO, arXiv 2104.14294, and its
    code; the colours are BYOL's.

    Args:
        mean, std, to_rgb: of the normalisation, see mmpretrain's SelfSupDataPreprocessor. Without ``to_rgb`` the
            images have to come in RGB.
        brightness, contrast, saturation: factors come from [1 - value, 1 + value], but not below 0.
        hue: turns come from [-hue, hue]; a share of the circle, at most 0.5.
        jitter_prob, grayscale_prob, blur_prob, solarize_prob: one number for all views; or three, for the first view,
            the second, and all later ones.
        blur_radius: range of Pillow's radius, which is a Gaussian's standard deviation, in pixels of the view.
        solarize_threshold: values from here to 255 are inverted.
        non_blocking: see MMEngine's BaseDataPreprocessor.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        jitter_prob: PerKind = 0.8,
        grayscale_prob: PerKind = 0.2,
        blur_prob: PerKind = (1.0, 0.1, 0.5),
        solarize_prob: PerKind = (0.0, 0.2, 0.0),
        blur_radius: tuple[float, float] = (0.1, 2.0),
        solarize_threshold: float = 128,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(mean=mean, std=std, to_rgb=to_rgb, non_blocking=non_blocking)
        for name, value in (('brightness', brightness), ('contrast', contrast), ('saturation', saturation)):
            if value < 0:
                raise ValueError(f'MultiCropPreprocessor: {name}={value}, must be at least 0; 0 leaves it as it is')
        if not 0 <= hue <= 0.5:
            raise ValueError(f'MultiCropPreprocessor: hue={hue}, must lie in [0, 0.5]; it is a share of the circle')
        if len(blur_radius) != 2 or not 0 < blur_radius[0] <= blur_radius[1]:
            raise ValueError(
                f'MultiCropPreprocessor: blur_radius={blur_radius}, must be (low, high) with 0 < low <= high, in pixels'
            )
        # Plain tensors, no buffers: what is drawn from them is drawn on the host.
        factors = ((max(0.0, 1 - value), 1 + value) for value in (brightness, contrast, saturation))
        self._low, self._high = torch.tensor([*factors, (-hue, hue), tuple(blur_radius)]).T
        self._threshold = float(solarize_threshold)
        self._probabilities = torch.tensor(
            [
                _per_kind('jitter_prob', jitter_prob),
                _per_kind('grayscale_prob', grayscale_prob),
                _per_kind('blur_prob', blur_prob),
                _per_kind('solarize_prob', solarize_prob),
            ]
        ).T  # (kinds, 4)

    def forward(self, data: dict, training: bool = False) -> dict:
        """``dict(inputs=..., data_samples=...)``, as from ``default_collate``, with ``inputs`` ready for the model."""
        if not training or isinstance(data['inputs'], Tensor):
            return super().forward(data, training)
        return dict(inputs=self.augment(self.cast_data(data['inputs'])), data_samples=data.get('data_samples'))

    @torch.no_grad()
    def augment(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Views of any sizes, uint8 (B, 3, H, W), on this device; those of one size are slices of one tensor."""
        results = list(views)
        for size in dict.fromkeys(view.shape for view in views):
            places = [place for place, view in enumerate(views) if view.shape == size]
            kinds = torch.tensor(places).clamp(max=2).repeat_interleave(size[0])
            images = self._change(torch.cat([views[place] for place in places]), self.draw(kinds))
            for place, view in zip(places, images.split(size[0]), strict=True):
                results[place] = view
        return results

    def draw(self, kinds: Tensor) -> Draws:
        """For images of these kinds, int64 (n,): 0 for a first view, 1 for a second, 2 for a later one."""
        n = len(kinds)
        strength = torch.lerp(self._low, self._high, torch.rand(n, 5, device='cpu'))
        order = torch.rand(n, 4, device='cpu').argsort(1)
        happens = torch.rand(n, 4, device='cpu') < self._probabilities[kinds]
        return Draws(order, strength[:, :4], strength[:, 4], happens)

    def _change(self, images: Tensor, draws: Draws) -> Tensor:
        """``images`` uint8 (n, 3, H, W) as the model wants them, float32."""
        changed = torch.empty_like(images, dtype=torch.float32)
        together = len(images)
        if images.device.type == 'cpu':
            together = max(1, _CPU_CHUNK * torch.get_num_threads() // images[0].numel())
        # The training step runs under autocast, but bfloat16 does not hold 256 levels.
        with torch.autocast(images.device.type, enabled=False):
            for start in range(0, len(images), together):
                part = slice(start, start + together)
                chunk = changed[part].copy_(images[part].flip(1) if self._channel_conversion else images[part])
                steps = self._steps(Draws(*(each[part] for each in draws)))
                for operation, rows, parameter in _on_device(steps, chunk.device):
                    chunk.index_copy_(0, rows, operation(chunk.index_select(0, rows), parameter))
                if self._enable_normalize:
                    chunk.sub_(self.mean).div_(self.std)
        return changed

    def _steps(self, draws: Draws) -> list[Step]:
        """In their order: an operation, the images that it meets, its parameter for each of them."""
        jitter, grey, blurred, solarized = draws.happens.T
        steps = []
        for turn in draws.order.T:
            for number, operation in enumerate(JITTER):
                rows = _where(jitter & (turn == number))
                steps.append((operation, rows, draws.strength[rows, number]))
        rows = _where(grey)
        steps.append((adjust_saturation, rows, torch.zeros(len(rows))))
        rows = _where(blurred)
        steps.append((gaussian_blur, rows, draws.radius[rows]))
        rows = _where(solarized)
        steps.append((solarize, rows, torch.full((len(rows),), self._threshold)))
        return [step for step in steps if len(step[1])]


def _on_device(steps: list[Step], device: torch.device) -> Iterator[Step]:
    """The same steps there, in two transfers which nobody waits for."""
    if not steps:
        return iter(())
    sizes = [len(rows) for _, rows, _ in steps]
    columns = torch.cat([rows for _, rows, _ in steps]), torch.cat([parameter for _, _, parameter in steps])
    if device.type == 'cuda':
        columns = columns[0].pin_memory(), columns[1].pin_memory()
    rows, parameters = (column.to(device, non_blocking=True).split(sizes) for column in columns)
    return zip((operation for operation, _, _ in steps), rows, parameters, strict=True)


def _where(happens: Tensor) -> Tensor:
    return happens.nonzero().squeeze(1)


def _per_kind(name: str, probability: PerKind) -> list[float]:
    """Of the first view, the second, and each later one."""
    values = [probability] * 3 if isinstance(probability, int | float) else list(probability)
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise ValueError(
            f'MultiCropPreprocessor: {name}={probability}, must be a probability, or three: of the first view, the '
            f'second, and all later ones'
        )
    return values
