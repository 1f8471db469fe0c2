"""Detection without compiling anything: a stand-in for mmcv's compiled operators.

``mmdet`` imports ``mmcv.ops``, which imports the extension ``mmcv._ext`` and fails where mmcv was installed
as pure Python. Compiling it takes half an hour and a compiler. Detectors of the R-CNN family call two of
its operators, NMS and RoIAlign, and torchvision ships both for CPU and GPU.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # this file is imported with the package, which should not cost an import of torch
    import torch
    from torch import Tensor

EXTENSION = 'mmcv._ext'


def install_mmcv_ops_stand_in() -> bool:
    """Puts the stand-in where mmcv looks for its extension. True if it did.

    Does nothing where mmcv has its own compiled operators, or is not installed, or was given an extension
    before; mmcv itself is not imported. Has to run before ``mmcv.ops`` is imported for the first time.
    """
    if EXTENSION in sys.modules:
        return False
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None or mmcv.submodule_search_locations is None:
        return False
    if importlib.machinery.PathFinder.find_spec(EXTENSION, mmcv.submodule_search_locations) is not None:
        return False
    sys.modules[EXTENSION] = _stand_in()
    return True


def _stand_in() -> ModuleType:
    module = ModuleType(EXTENSION, 'Routes NMS and RoIAlign to torchvision; every other operator raises.')
    # MMEngine asks importlib for this module's spec, and a loaded module without one is an error there.
    module.__spec__ = importlib.machinery.ModuleSpec(EXTENSION, None)
    vars(module).update(
        __getattr__=_missing_operator,
        get_compiler_version=_not_compiled,
        get_compiling_cuda_version=_not_compiled,
        nms=_nms,
        roi_align_forward=_roi_align_forward,
        roi_align_backward=_roi_align_backward,
    )
    return module


def _not_compiled() -> str:
    return 'not compiled'


def _missing_operator(name: str) -> Callable[..., Any]:
    """mmcv looks up every operator when it is imported, so a missing one may only fail when it is called."""
    if name.startswith('__'):
        raise AttributeError(f'module {EXTENSION!r} has no attribute {name!r}')

    def missing(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(_remedy(f'the operator {name!r}'))

    missing.__name__ = name
    return missing


def _remedy(what: str) -> str:
    try:
        pinned = f'onedl-mmcv=={version("onedl-mmcv")}'
    except PackageNotFoundError:
        pinned = 'onedl-mmcv'
    return (
        f'mmcv: {what} is compiled code, and this mmcv was installed without it (only nms and average-pooling '
        f'roi_align are replaced, by torchvision). To get it, compile mmcv where torch is already installed, '
        f'which takes about half an hour:\n'
        f'    pip install "setuptools>=80,<82" wheel packaging ninja\n'
        f'    MMCV_WITH_OPS=1 pip install --force-reinstall --no-deps --no-build-isolation --no-cache-dir '
        f'--no-binary onedl-mmcv {pinned}'
    )


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Indices kept, best score first. boxes: (N, 4) as x1, y1, x2, y2; widths are x2 - x1 + offset."""
    from torchvision.ops import nms

    # Widths, heights and overlaps with an offset are those of boxes whose far corner lies that much further.
    boxes = boxes + boxes.new_tensor([0, 0, offset, offset]) if offset else boxes
    if boxes.element_size() < 4 or scores.dtype != boxes.dtype:
        boxes, scores = boxes.float(), scores.float()
    return nms(boxes, scores, float(iou_threshold))


def _check_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(_remedy("roi_align with pool_mode='max'"))


def _roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills ``output`` (R, C, aligned_height, aligned_width). input: (B, C, H, W); rois: (R, 5), the first
    column the index into B. The arguments are mmcv's; ``argmax_*`` belong to max pooling."""
    import torch
    import torchvision  # noqa: F401  registers torch.ops.torchvision

    _check_average(pool_mode)
    kind = _kernel_type(input)
    pooled = torch.ops.torchvision.roi_align(
        input.to(kind),
        rois.to(kind),
        float(spatial_scale),
        aligned_height,
        aligned_width,
        int(sampling_ratio),
        bool(aligned),
    )
    output.copy_(pooled)


def _roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills ``grad_input`` (B, C, H, W)."""
    import torch
    import torchvision  # noqa: F401

    _check_average(pool_mode)
    kind = _kernel_type(grad_output)
    gradient = torch.ops.torchvision._roi_align_backward(
        grad_output.to(kind),
        rois.to(kind),
        float(spatial_scale),
        aligned_height,
        aligned_width,
        *grad_input.shape,
        int(sampling_ratio),
        bool(aligned),
    )
    grad_input.copy_(gradient)


def _kernel_type(features: Tensor) -> torch.dtype:
    """torchvision's kernel has no bfloat16, and wants boxes and features of one type."""
    import torch

    return torch.float32 if features.dtype == torch.bfloat16 else features.dtype
