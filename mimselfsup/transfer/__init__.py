"""What downstream frameworks need from this project. Imported with the package itself: keep it light."""

from .mmcv_ops import install_mmcv_ops_stand_in

__all__ = ['install_mmcv_ops_stand_in']
