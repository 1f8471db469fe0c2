"""Colour and blur of many images at once, each with a parameter of its own. Pure functions without randomness.

Images are RGB, float32, (n, 3, H, W), in [0, 255]; parameters are (n,). An operation does what Pillow's of that name
does to 8 bits, but does not round: after several of them a value may differ from Pillow's by a few levels.
"""

import torch
from torch import Tensor

WHITE = 255.0


def luma(images: Tensor) -> Tensor:
    """(n, 1, H, W), of ITU-R 601-2 as in Pillow's mode L."""
    red, green, blue = images.split(1, dim=1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * _per_image(factor)).clamp_(0, WHITE)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean luma of the image, or towards it (factor < 1)."""
    return _blend(luma(images).mean((2, 3), keepdim=True), images, factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the luma of each pixel, or towards it (factor < 1); a factor of 0 makes the image grey."""
    return _blend(luma(images), images, factor)


def _blend(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other, images, _per_image(factor)).clamp_(0, WHITE)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue of HSV, by a share of the circle.

    Value and chroma stay what they are, so there is no way to HSV and back. A primary colour at a distance of d sixths
    of the circle from the new hue gets value - chroma * clamp(d - 1, 0, 1).
    """
    red, green, blue = images.split(1, dim=1)
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    near_red, near_green, near_blue = (
        green - blue,
        (blue - red).add_(chroma, alpha=2),
        (red - green).add_(chroma, alpha=4),
    )
    hue = torch.where(value == red, near_red, torch.where(value == green, near_green, near_blue))
    # In turns, from red. A grey pixel has none: 0 / tiny = 0, which counts for nothing at a chroma of 0.
    hue = hue.div_(chroma.clamp(min=torch.finfo(chroma.dtype).tiny)).div_(6).add_(_per_image(turn))
    primaries = (torch.arange(3, device=images.device) / 3).view(3, 1, 1)
    distance = hue - primaries
    distance = distance.sub_(distance.round()).abs_().mul_(6)
    return torch.addcmul(value, chroma, distance.sub_(1).clamp_(0, 1), value=-1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts what, as a whole number, would be ``threshold`` or more."""
    return torch.where(images >= _per_image(threshold) - 0.5, WHITE - images, images)


def gaussian_blur(images: Tensor, radius: Tensor) -> Tensor:
    """Pillow's Gaussian: three box filters whose variances add up to ``radius`` squared, in pixels.

    Beyond the border its own colours go on. Written as a product with one matrix for the rows and one for the columns,
    which takes the same time for any radius and is what every device does best. A sampled Gaussian is something else
    at small radii: at 0.3 it leaves nearly everything as it is.
    """
    height, width = images.shape[-2:]
    rows = _box_filters(radius, height)
    columns = rows if width == height else _box_filters(radius, width)
    blurred = images.flatten(1, 2) @ columns.transpose(1, 2)  # (n, 3 * H, W)
    return rows[:, None] @ blurred.view_as(images)


def _box_filters(radius: Tensor, size: int, passes: int = 3) -> Tensor:
    """(n, size, size): in row i the weights that all pixels have in pixel i."""
    variance = (radius**2 / passes)[:, None]
    whole = ((12 * variance + 1).sqrt() / 2 - 0.5).floor()  # a box of 2 * whole + 1 pixels is just too narrow
    share = (2 * whole + 1) * (3 * variance - whole * (whole + 1)) / (6 * ((whole + 1) ** 2 - variance))
    reach = whole + share  # of the two pixels next to the box only a share counts
    places = torch.arange(size, device=radius.device)
    left = reach + 1 - places  # (n, size), of the box, from the near side of the pixel at this distance outwards
    matrix = left.clamp(0, 1)[:, (places[:, None] - places).abs()]
    matrix[:, :, 0] = left.clamp(min=0)  # the pixels at the border stand for what lies beyond
    matrix[:, :, -1] = left.clamp(min=0).flip(1)
    return (matrix / (2 * reach + 1)[..., None]).matrix_power(passes)


def _per_image(parameter: Tensor) -> Tensor:
    return parameter.view(-1, 1, 1, 1)
