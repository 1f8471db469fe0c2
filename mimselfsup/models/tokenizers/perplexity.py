"""How many codes of a vocabulary are really in use."""

import torch
from torch import Tensor


def code_perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """exp of the entropy of how often each code occurs in ``codes`` (any shape, int64): from 1 to ``num_codes``.

    A prediction that only knows how common each code is has its logarithm as cross-entropy.
    """
    codes = codes.flatten()
    counts = torch.zeros(num_codes, device=codes.device)
    counts.scatter_add_(0, codes, torch.ones_like(codes, dtype=counts.dtype))  # bincount would wait for the device
    share = counts / counts.sum()
    return torch.special.entr(share).sum().exp()
