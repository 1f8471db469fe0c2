"""The plain vision transformer of detectors: MaskedViT for images much larger than those of pre-training."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mimselfsup.models.backbones import MaskedViT
from mimselfsup.models.backbones.masked_vit import relative_bias
from mimselfsup.registry import MODELS


@MODELS.register_module()
class ViTDet(MaskedViT):
    """:class:`MaskedViT` with windows, and with relative positions that start as none (ViTDet, arXiv 2203.16527).

    Weights of pre-training load under their names, whatever their grid; what is new are the tables of relative
    positions, and a checkpoint without them is read as one with tables of zeros, which is what it computes. [CLS]
    tokens, however many it has, are left out, as in detectron2, so that with one window (or none) this is a MaskedViT
    without them. Only ``forward``, (B, 3, H, W) of any size -> maps (B, D, h, w), knows of windows.

    Windows start at the upper left corner; where they do not tile the grid, the last of a row or column are smaller.
    detectron2 pads the normed tokens with zeros there, and real tokens attend to what the projection makes of them,
    its biases: at 1024 px, 64 = 4 * 14 + 8 patches a side, in 9 windows of 25. ``pad_windows=True`` is for that.

    Args:
        img_size: of pre-training: the grid of the absolute positions, which are resized for each input.
        input_size: pixels of a side (or of height and width) that the tables of global blocks are made for.
        window_size: patches of a side.
        global_blocks: which blocks, from 0, attend to all patches; None: the last of each quarter of the depth, for 12
            blocks (2, 5, 8, 11).
        relative_positions: whether q R_row + q R_column of the learned tables is added to the logits, q before scaling,
            R by the distance in patches. Tables are stretched (linearly) for grids larger than theirs only, where
            detectron2 stretches them for smaller ones too.
        with_cp: recompute blocks in the backward pass instead of keeping their activations.
        final_norm: norm after the last block; a pyramid has its own.
        kwargs: MaskedViT's; ``position='shared_relative'`` for checkpoints of SimMIM's ViT and BEiT.
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        *,
        input_size: int | tuple[int, int] = 1024,
        window_size: int = 14,
        global_blocks: Sequence[int] | None = None,
        relative_positions: bool = True,
        pad_windows: bool = False,
        with_cp: bool = False,
        final_norm: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(arch, hidden='drop', with_cls_token=False, out_type='featmap', final_norm=final_norm, **kwargs)
        if global_blocks is None:
            global_blocks = [end - 1 for end in (self.num_layers * quarter // 4 for quarter in (1, 2, 3, 4)) if end]
        unknown = [block for block in global_blocks if not 0 <= block < self.num_layers]
        if unknown:
            raise ValueError(f'ViTDet: global_blocks={tuple(global_blocks)}, must lie in [0, {self.num_layers - 1}]')
        if window_size < 1:
            raise ValueError(f'ViTDet: window_size={window_size}, must be at least 1: the patches of a side')
        self.global_blocks = frozenset(global_blocks)
        self.window_size = window_size
        self.pad_windows = pad_windows
        self.with_cp = with_cp
        if relative_positions:
            sides = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
            whole = self.token_grid(sides)
            for depth, layer in enumerate(self.layers):
                rows, columns = whole if depth in self.global_blocks else (window_size, window_size)
                # detectron2's names; within the block, whose layer they are of for the learning rate.
                layer.attn.rel_pos_h = nn.Parameter(torch.zeros(2 * rows - 1, layer.attn.head_dims))
                layer.attn.rel_pos_w = nn.Parameter(torch.zeros(2 * columns - 1, layer.attn.head_dims))
        if self.frozen_stages > 0:
            self._freeze_stages()  # once more: the tables too

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        tokens, grid = self._enter(images)
        biases = self._shared_biases(grid)
        recompute = self.with_cp and torch.is_grad_enabled()
        outputs = []
        for depth, layer in enumerate(self.layers):
            window = None if depth in self.global_blocks else self.window_size
            if recompute:
                tokens = checkpoint(self._block, layer, tokens, grid, window, biases, use_reentrant=False)
            else:
                tokens = self._block(layer, tokens, grid, window, biases)
            if depth == self.num_layers - 1 and self.final_norm:
                tokens = self.ln1(tokens)
            if depth in self.out_indices:
                outputs.append(self._format_output(tokens, grid))
        return tuple(outputs)

    def _block(
        self, layer: TransformerEncoderLayer, tokens: Tensor, grid: tuple[int, int], window: int | None, biases: dict
    ) -> Tensor:
        attn = layer.attn
        mixed = attn.proj(self._mix(layer, layer.ln1(tokens), grid, window, biases))
        tokens = tokens + attn.out_drop(attn.gamma1(attn.proj_drop(mixed)))
        return layer.ffn(layer.ln2(tokens), identity=tokens)

    def _mix(
        self, layer: TransformerEncoderLayer, tokens: Tensor, grid: tuple[int, int], window: int | None, biases: dict
    ) -> Tensor:
        """Values mixed by attention within windows, (B, N, D) -> (B, N, D); ``window`` None: everywhere."""
        attn = layer.attn
        tables = (attn.rel_pos_h, attn.rel_pos_w) if hasattr(attn, 'rel_pos_h') else None
        maps = tokens.unflatten(1, grid)
        if window and self.pad_windows:
            maps = F.pad(maps, (0, 0, 0, -grid[1] % window, 0, -grid[0] % window))
        qkv = attn.qkv(maps).unflatten(-1, (3, attn.num_heads, -1))  # (B, H, W, 3, A, d)
        height, width = maps.shape[1:3]
        bands = []
        for top, bottom, rows in _spans(height, window or height):
            cells = []
            for left, right, columns in _spans(width, window or width):
                part = qkv[:, top:bottom, left:right].unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
                windows = part.shape[:2] + part.shape[3:4]  # of B images, down and across
                part = part.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(1, 3)  # (3, windows, A, rows, columns, d)
                mixed = attend(
                    *part,
                    tables=tables,
                    bias=biases.get((rows, columns)),
                    dropout=attn.attn_drop if layer.training else 0.0,
                )
                mixed = mixed.unflatten(2, (rows, columns)).unflatten(0, windows)  # (B, down, across, A, rows, ...)
                cells.append(mixed.permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4).flatten(1, 2))
            bands.append(torch.cat(cells, 2))
        return torch.cat(bands, 1)[:, : grid[0], : grid[1]].flatten(1, 2)

    def _shared_biases(self, grid: tuple[int, int]) -> dict[tuple[int, int], Tensor]:
        """The shared table's (A, n, n) for each size of window in use; computed once for all blocks."""
        if self.rel_pos_bias is None:
            return {}
        sizes = {grid} if self.global_blocks else set()
        if len(self.global_blocks) < self.num_layers:
            padded = [side + -side % self.window_size for side in grid] if self.pad_windows else grid
            down, across = ([span[2] for span in _spans(side, self.window_size)] for side in padded)
            sizes |= {(rows, columns) for rows in down for columns in across}
        table, own = self.rel_pos_bias.relative_position_bias_table, self.patch_resolution
        return {
            size: table_entries(table, own, size)
            if size[0] <= own[0] and size[1] <= own[1]
            else relative_bias(self.rel_pos_bias, size)
            for size in sizes
        }

    def _prepare_pos_embed(self, state_dict: dict, prefix: str, *args) -> None:
        """Before loading: leaves out what is of [CLS] tokens, and adds tables of zeros where there are none."""
        shared = prefix + 'rel_pos_bias.relative_position_bias_table'
        if shared in state_dict:
            if self.rel_pos_bias is None:
                raise ValueError(
                    'ViTDet: the checkpoint has one table of relative positions for all blocks; set '
                    "position='shared_relative'"
                )
            if len(state_dict[shared]) == len(self.rel_pos_bias.relative_position_bias_table) + 3:
                state_dict[shared] = state_dict[shared][:-3]
            index = 'relative_position_index'
            state_dict[f'{prefix}rel_pos_bias.{index}'] = getattr(self.rel_pos_bias, index)
        cls_tokens, positions = state_dict.get(prefix + 'cls_token'), state_dict.get(prefix + 'pos_embed')
        if cls_tokens is not None and positions is not None:
            state_dict[prefix + 'pos_embed'] = positions[:, cls_tokens.shape[1] :]
        super()._prepare_pos_embed(state_dict, prefix, *args)
        for depth, layer in enumerate(self.layers):
            if f'{prefix}layers.{depth}.attn.qkv.weight' not in state_dict:
                continue
            for name, table in layer.attn.named_parameters(recurse=False):
                state_dict.setdefault(f'{prefix}layers.{depth}.attn.{name}', torch.zeros_like(table))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tables: tuple[Tensor, Tensor] | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention over maps, (n, A, h, w, d) each -> (n, A, h * w, d).

    ``tables`` of rows and columns, (2 * side - 1, d) each: the logit of places (i, j) and (k, l) is q k / sqrt(d)
    + q R_row[i - k] + q R_column[j - l]. ``bias``: (A, h * w, h * w), added to it.
    """
    height, width, dims = query.shape[2:]
    scale = dims**-0.5
    if tables is not None:
        # Fused kernels take no such term, and as a bias it would be (n, A, h * w, h * w), kept for the backward pass.
        # Written as a product it only widens queries and keys: each key says, one-hot, its row and column.
        by_row = torch.einsum('nahwd,hkd->nahwk', query, by_distance(tables[0], height).to(query.dtype))
        by_column = torch.einsum('nahwd,wkd->nahwk', query, by_distance(tables[1], width).to(query.dtype))
        row = torch.eye(height, dtype=key.dtype, device=key.device)[:, None].expand(-1, width, -1)
        column = torch.eye(width, dtype=key.dtype, device=key.device).expand(height, -1, -1)
        unused = key.new_zeros(()).expand(*key.shape[:-1], -(dims + height + width) % 8)  # kernels want multiples of 8
        query = torch.cat([query * scale, by_row, by_column, unused], -1)
        key = torch.cat([key, torch.cat([row, column], -1).expand(*key.shape[:2], -1, -1, -1), unused], -1)
        scale = 1.0
    return F.scaled_dot_product_attention(
        query.flatten(2, 3),
        key.flatten(2, 3),
        value.flatten(2, 3),
        attn_mask=None if bias is None else bias.to(query.dtype).unsqueeze(0),
        dropout_p=dropout,
        scale=scale,
    )


def by_distance(table: Tensor, side: int) -> Tensor:
    """(2 * own - 1, d) -> (side, side, d): the entry of i - k at [i, k]; stretched if ``side`` is above its own."""
    own = (len(table) + 1) // 2
    if side > own:
        table = F.interpolate(table.T[None], size=2 * side - 1, mode='linear')[0].T
        own = side
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places + own - 1]


def table_entries(table: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(heads, n, n) for a ``grid`` of n places within ``own``, the grid whose distances ``table`` lists row-major."""
    row, column = (torch.arange(side, device=table.device) for side in grid)
    rows = row[:, None] - row + own[0] - 1
    columns = column[:, None] - column + own[1] - 1
    index = rows[:, None, :, None] * (2 * own[1] - 1) + columns[None, :, None, :]  # (h, w, h, w)
    return table[index.flatten(2).flatten(0, 1)].permute(2, 0, 1)


def _spans(length: int, window: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, side) of what whole windows tile, and of the rest."""
    tiled = length // window * window
    if tiled:
        yield 0, tiled, window
    if tiled < length:
        yield tiled, length, length - tiled
