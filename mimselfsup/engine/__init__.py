from .checkpoint import (
    BrokenCheckpointError,
    CheckpointError,
    install_safe_loading,
    load_weights,
    read_checkpoint,
)
from .hooks import *
from .layer_decay import LayerDecayOptimWrapperConstructor
from .optim import AutocastOptimWrapper, MergedOptimWrapperConstructor
from .runner import EpochLoop, Runner
