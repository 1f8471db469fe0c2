"""What the host knows and the device is to know too."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """``values`` of the host, there. Nobody waits: from memory that is not pinned the host would, for all that the
    device has still to do."""
    if device.type == 'cuda':
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
