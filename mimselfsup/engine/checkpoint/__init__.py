"""Checkpoint files: the single place where they are written, read and matched to a model."""

from .newest import find_resumable, write_last_checkpoint
from .pretrained import PretrainedReport, backbone_prefix, fitting_arguments, load_pretrained, read_backbone
from .reading import (
    BrokenCheckpointError,
    CheckpointError,
    install_safe_loading,
    read_anywhere,
    read_checkpoint,
    trust_checkpoint,
)
from .weights import LoadReport, load_weights, state_dict_of
from .writing import (
    plain_message_hub,
    restore_message_hub,
    to_plain,
    write_atomically,
    write_checkpoint,
)

__all__ = [
    'BrokenCheckpointError',
    'CheckpointError',
    'LoadReport',
    'PretrainedReport',
    'backbone_prefix',
    'find_resumable',
    'fitting_arguments',
    'install_safe_loading',
    'load_pretrained',
    'load_weights',
    'plain_message_hub',
    'read_anywhere',
    'read_backbone',
    'read_checkpoint',
    'restore_message_hub',
    'state_dict_of',
    'to_plain',
    'trust_checkpoint',
    'write_atomically',
    'write_checkpoint',
    'write_last_checkpoint',
]
