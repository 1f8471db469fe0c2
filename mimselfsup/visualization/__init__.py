from .attention import attention_figure, attention_overlay
from .curves import curves_figure, read_scalars, run_labels, smooth
from .figure import check_picture_name, picture_grid, save_figure, to_picture, upsample
from .masks import masks_figure, paint_mask
from .reconstruction import reconstruction_figure

__all__ = [
    'attention_figure',
    'attention_overlay',
    'check_picture_name',
    'curves_figure',
    'masks_figure',
    'paint_mask',
    'picture_grid',
    'read_scalars',
    'reconstruction_figure',
    'run_labels',
    'save_figure',
    'smooth',
    'to_picture',
    'upsample',
]
