from .attention import attention_figure, attention_overlay, mark_patch, proxies_figure, queries_figure
from .curves import curves_figure, read_scalars, run_labels, smooth
from .distance import Reach, distance_figure
from .figure import check_picture_name, picture_grid, save_figure, to_picture, upsample
from .masks import masks_figure, paint_mask
from .reconstruction import glyphs_figure, reconstruction_figure

__all__ = [
    'Reach',
    'attention_figure',
    'attention_overlay',
    'check_picture_name',
    'curves_figure',
    'distance_figure',
    'glyphs_figure',
    'mark_patch',
    'masks_figure',
    'paint_mask',
    'picture_grid',
    'proxies_figure',
    'queries_figure',
    'read_scalars',
    'reconstruction_figure',
    'run_labels',
    'save_figure',
    'smooth',
    'to_picture',
    'upsample',
]
