"""Self-supervised pre-training of vision transformers by masking, and by choosing what to mask."""

from mmengine.config.utils import MODULE2PACKAGE

from .loading_guard import guard_loading
from .transfer.mmcv_ops import install_mmcv_ops_stand_in
from .version import __version__

__all__ = ['__version__']

# `_base_ = 'mimselfsup::...'` finds the configs of this package. MMEngine's entry for mmseg names a
# distribution that the maintained fork no longer uses, so that `mmseg::...` would count as not installed.
MODULE2PACKAGE['mimselfsup'] = 'mimselfsup'
MODULE2PACKAGE['mmseg'] = 'mmseg'

# Before anything imports mmdet.
install_mmcv_ops_stand_in()

guard_loading()
