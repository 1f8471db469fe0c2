"""Features of whole pictures, each at a size of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mimselfsup.datasets import BrokenImage, read_image

Box = tuple[float, float, float, float]  # left, top, right, bottom

WAITING = 4  # batches' worth of pictures that wait for others of their size, at most


class Pictures(Dataset):
    """``(index, uint8 (3, h, w) in BGR)`` of files, or ``(index, what is wrong)`` of one that is no whole picture: an
    error would not come out of a worker process as it is.

    ``prepare(picture, box)`` gets and gives (h, w, 3) in BGR; ``box`` is that of ``boxes``, or None.
    """

    def __init__(
        self,
        paths: Sequence,
        prepare: Callable[[np.ndarray, Box | None], np.ndarray],
        boxes: Sequence[Box] | None = None,
    ) -> None:
        self.paths, self.prepare, self.boxes = [str(path) for path in paths], prepare, boxes

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        try:
            picture = read_image(self.paths[index])
        except BrokenImage as error:
            return index, str(error)
        prepared = self.prepare(picture, self.boxes[index] if self.boxes else None)
        return index, torch.from_numpy(np.ascontiguousarray(prepared.transpose(2, 0, 1)))


def shrink_to(longest: int, picture: np.ndarray, box: Box | None = None) -> np.ndarray:
    """At most ``longest`` pixels on the longer side, by Lanczos; never enlarged. DINO's way, by Pillow's thumbnail.

    Of a ``box`` only its inside, at the scale of the whole picture, as the authors of the revisited sets do.
    """
    image = Image.fromarray(picture)  # the order of the channels does not matter here
    if box is not None:
        whole = max(image.size)
        image = image.crop(box)
        longest = max(int(longest * max(image.size) / whole), 1)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image)


def squeeze_to(size: tuple[int, int], picture: np.ndarray, box: Box | None = None) -> np.ndarray:
    """All of the picture at ``size`` (h, w), bicubic; its aspect is lost."""
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))


def batches_by_size(pictures: Dataset, batch_size: int, workers: int = 0) -> Iterator[tuple[list[int], Tensor]]:
    """Every picture once, as (places, (B, 3, h, w)); those of one size share batches. Raises ValueError for a broken
    picture."""
    loader = DataLoader(
        pictures, batch_size=None, num_workers=workers, generator=torch.Generator().manual_seed(0)
    )  # a generator of its own: none of this process is drawn from
    waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}

    def leave(shape: tuple[int, ...]) -> tuple[list[int], Tensor]:
        places, images = zip(*waiting.pop(shape), strict=True)
        return list(places), torch.stack(images)

    count = 0
    for index, picture in loader:
        if isinstance(picture, str):
            raise ValueError(picture)
        shape = tuple(picture.shape)
        waiting.setdefault(shape, []).append((index, picture))
        count += 1
        if len(waiting[shape]) < batch_size and count >= WAITING * batch_size:
            shape = max(waiting, key=lambda key: len(waiting[key]))
        if len(waiting[shape]) == batch_size or count >= WAITING * batch_size:
            count -= len(waiting[shape])
            yield leave(shape)
    for shape in list(waiting):
        yield leave(shape)


@torch.no_grad()
def describe_pictures(
    pictures: Dataset,
    describe: Callable[[Tensor], Mapping[str, Tensor]],
    batch_size: int = 64,
    workers: int = 0,
    description: str = 'features',
    progress: bool = False,
) -> dict[str, Tensor]:
    """{name: (n, D)}, float32, on the CPU, in the order of ``pictures``. ``describe`` gets uint8 (B, 3, h, w), BGR."""
    rows: dict[str, Tensor] = {}
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(description, total=len(pictures))
        for places, images in batches_by_size(pictures, batch_size, workers):
            for name, values in describe(images).items():
                if name not in rows:
                    rows[name] = torch.empty(len(pictures), values.shape[1])
                rows[name][places] = values.float().cpu()
            bar.advance(task, len(places))
    return rows


def tiled(backbone: nn.Module, images: Tensor) -> Tensor:
    """``images`` (B, 3, H, W) as far as the backbone's patches tile them: less what remains at the bottom and the
    right, which a strided convolution would leave out, too. A side shorter than a patch is enlarged to one.

    A backbone that takes any size gets all of it.
    """
    try:
        backbone.token_grid(tuple(images.shape[-2:]))
        return images
    except ValueError:
        pass
    sizes = [max(side, stride) for side, stride in zip(images.shape[-2:], backbone.out_stride, strict=True)]
    if sizes != list(images.shape[-2:]):
        images = F.interpolate(images, size=sizes, mode='bilinear', align_corners=False)
    height, width = (side - side % stride for side, stride in zip(sizes, backbone.out_stride, strict=True))
    return images[..., :height, :width]


def multi_scale(
    describe: Callable[[Tensor], Mapping[str, Tensor]], images: Tensor, scales: Sequence[float]
) -> dict[str, Tensor]:
    """{name: mean over ``scales`` of what ``describe`` says of ``images`` (B, 3, H, W), resized bilinearly}."""
    sums: dict[str, Tensor] = {}
    for scale in scales:
        view = images
        if scale != 1:
            # As DINO's code does: the sampling points follow the scale, not the rounded size.
            view = F.interpolate(images, scale_factor=scale, mode='bilinear', align_corners=False)
        for name, values in describe(view).items():
            sums[name] = sums[name] + values if name in sums else values
    return {name: values / len(scales) for name, values in sums.items()}
