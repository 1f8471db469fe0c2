"""Swin's window attention: on maps smaller than a window, and what its tokens receive of it."""

import math

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor


class WindowAttention(ShiftWindowMSA):
    """mmpretrain's, equal to it wherever that runs.

    Maps smaller than the window (local views) are padded with zeros to its size and, like a map of just its size, not
    shifted: one window sees all of them. mmpretrain refuses those, and its ``pad_small_map=True``, which is kept
    as it is, also shifts maps of just the window's size, that is, changes the network at its usual input.
    """

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        height, width = hw_shape
        below, right = (max(self.window_size - side, 0) for side in hw_shape)
        if self.pad_small_map or below == right == 0:
            return super().forward(query, hw_shape)
        padded = F.pad(query.unflatten(1, (height, width)), (0, 0, 0, right, 0, below))
        mixed = super().forward(padded.flatten(1, 2), (height + below, width + right))
        return mixed.unflatten(1, padded.shape[1:3])[:, :height, :width].flatten(1, 2)

    @torch.no_grad()
    def received(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, heads, H * W), float32: the attention that each token gets, the mean over all tokens as queries.

        ``query`` (B, H * W, C) is what :meth:`forward` is called with. With one window: the mean over the rows of its
        softmax map. A row adds up to 1, less what went to padding, where windows do not tile the map.
        """
        batch, tokens, channels = query.shape
        side, inner = self.window_size, self.w_msa
        shift = self.shift_size if self.pad_small_map or min(hw_shape) > side else 0
        padded = [math.ceil(length / side) * side for length in hw_shape]

        def windows_of(values: Tensor) -> Tensor:
            """(B, H * W, C) -> (B * windows, side^2, C)"""
            values = values.unflatten(1, hw_shape)
            values = F.pad(values, (0, 0, 0, padded[1] - hw_shape[1], 0, padded[0] - hw_shape[0]))
            return self.window_partition(values.roll((-shift, -shift), (1, 2)), side).flatten(1, 2)

        # The values, the last third of the projection, are not needed.
        bias = None if inner.qkv.bias is None else inner.qkv.bias[: 2 * channels]
        projected = F.linear(windows_of(query), inner.qkv.weight[: 2 * channels], bias)
        queries, keys = projected.unflatten(2, (2, inner.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # As in run_block(): ties are likely at 16 bits, and whoever ranks would break them by chance.
        with torch.autocast(query.device.type, enabled=False):
            logits = inner.scale * (queries.float() @ keys.float().transpose(-2, -1))
            positions = inner.relative_position_bias_table.float()[inner.relative_position_index]
            logits = (logits + positions.permute(2, 0, 1)).unflatten(0, (batch, -1))  # (B, windows, heads, n, n)
            regions = self.get_attn_mask(padded, side, shift, query.device)
            if regions is not None:
                logits = logits + regions[:, None]
            is_token = windows_of(logits.new_ones(1, tokens, 1))  # (windows, n, 1): padding asks in vain
            received = (logits.softmax(-1) * is_token[:, None]).sum(-2) / tokens  # (B, windows, heads, n)
        received = self.window_reverse(received.flatten(0, 1).transpose(1, 2), *padded, side)
        received = received.roll((shift, shift), (1, 2))[:, : hw_shape[0], : hw_shape[1]]
        return received.flatten(1, 2).transpose(1, 2)
