"""The one vision transformer of this project: aware of masks in pre-training, an ordinary backbone after it."""

import math

import torch
import torch.nn.functional as F
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.beit import RelativePositionBias
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer, VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from .positions import sincos_positions
from .tokens import Tokens

HIDDEN = ('drop', 'replace')
POSITIONS = ('learned', 'sincos', 'shared_relative')
INITS = ('xavier', 'trunc_normal', 'trunc_normal_rescaled')


@MODELS.register_module()
class MaskedViT(VisionTransformer):
    """mmpretrain's ``VisionTransformer``, which can also encode an image of which patches are hidden.

    ``encode`` is the contract of pre-training; ``forward`` stays the parent's, and with it the state dict,
    so that the pre-trained class is the backbone of every downstream task.

    Args:
        arch: as the parent's, but 'tiny' and 'small' are the ViT-Ti and ViT-S of the papers (192 and 384 wide, 12
            deep; DeiT's), where mmpretrain's 'small' is 768 wide and 8 deep.
        hidden: what becomes of masked tokens in ``encode``: 'drop' leaves them out (MAE), 'replace' puts a
            learned mask token in their place (SimMIM, BEiT, MaskFeat, iBOT).
        position: 'learned'; 'sincos', fixed (MAE); 'shared_relative', one table of relative biases for all
            blocks and no absolute embedding (SimMIM's ViT, BEiT in pre-training).
        weight_init: 'xavier' (MAE), 'trunc_normal' (0.02; DINO), 'trunc_normal_rescaled' (SimMIM, BEiT: as before,
            and the output projections of block l, from 1, are divided by sqrt(2 l)).
        kwargs: the parent's.
    """

    arch_zoo = {  # noqa: RUF012
        **VisionTransformer.arch_zoo,
        **dict.fromkeys(('t', 'tiny'), VisionTransformer.arch_zoo['deit-tiny']),
        **dict.fromkeys(('s', 'small'), VisionTransformer.arch_zoo['deit-small']),
    }

    def __init__(
        self,
        arch: str | dict = 'base',
        *,
        hidden: str = 'drop',
        position: str = 'learned',
        weight_init: str = 'trunc_normal',
        **kwargs,
    ) -> None:
        for name, value, allowed in (
            ('hidden', hidden, HIDDEN),
            ('position', position, POSITIONS),
            ('weight_init', weight_init, INITS),
        ):
            if value not in allowed:
                raise ValueError(f'MaskedViT: {name}={value!r}, must be one of {allowed}')
        if isinstance(arch, str) and arch.lower() not in self.arch_zoo:
            raise ValueError(f'MaskedViT: arch={arch!r}, must be one of {sorted(self.arch_zoo)} or a dict')
        super().__init__(arch, **kwargs)
        self.hidden = hidden
        self.position = position
        self.weight_init = weight_init
        self.patch_size = self.out_stride = self.patch_embed.projection.kernel_size
        self.out_channels = self.embed_dims
        if hidden == 'replace':
            self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        if position == 'shared_relative':
            self.pos_embed = None
        if position == 'sincos':
            self.pos_embed.requires_grad_(False)
            self.pos_embed.data = sincos_positions(self.patch_resolution, self.embed_dims, self.num_extra_tokens)
        self.rel_pos_bias = None
        if position == 'shared_relative':
            self.rel_pos_bias = RelativePositionBias(
                self.patch_resolution, self.arch_settings['num_heads'], self.num_extra_tokens > 0
            )

    def init_weights(self) -> None:
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            super().init_weights()
            return
        fixed = self.pos_embed.detach().clone() if self.position == 'sincos' else None
        super().init_weights()
        if fixed is not None:
            self.pos_embed.data.copy_(fixed)
        linear_init = nn.init.xavier_uniform_ if self.weight_init == 'xavier' else _trunc_normal
        for module in self.modules():
            if isinstance(module, nn.Linear):
                linear_init(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        linear_init(self.patch_embed.projection.weight.flatten(1))  # a view: as the linear layer that it is
        if self.patch_embed.projection.bias is not None:
            nn.init.zeros_(self.patch_embed.projection.bias)
        for token in (self.cls_token, getattr(self, 'mask_token', None)):
            if token is not None:
                nn.init.normal_(token, std=0.02)
        if self.weight_init == 'trunc_normal_rescaled':
            for depth, layer in enumerate(self.layers, start=1):
                layer.attn.proj.weight.data.div_(math.sqrt(2 * depth))
                layer.ffn.layers[1].weight.data.div_(math.sqrt(2 * depth))

    def train(self, mode: bool = True):
        super().train(mode)  # the parent's returns None, which breaks model.eval().encode(...)
        return self

    def token_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) patch tokens of an image of (H, W) pixels. Raises ValueError if patches do not tile it."""
        (height, width), (patch_h, patch_w) = image_size, self.patch_size
        if height % patch_h or width % patch_w:
            raise ValueError(
                f'MaskedViT: images of {height} x {width} pixels are no whole number of patches of '
                f'{patch_h} x {patch_w}'
            )
        return height // patch_h, width // patch_w

    def encode(self, images: Tensor, token_mask: TokenMask | None = None, cls_attention: bool = False) -> Tokens:
        """Encodes what a mask leaves of ``images`` (B, 3, H, W), of any size that the patches tile.

        Thrown tokens never enter. With ``cls_attention`` the last block's [CLS] row is handed out as well; it
        costs one query, not an attention map.
        """
        grid = self.token_grid(images.shape[-2:])
        patches = self.patch_embed(images)[0]  # (B, N, D)
        positions = self._positions(grid)
        extra = self.cls_token + positions[:, : self.num_extra_tokens] if self.with_cls_token else None
        index = valid = None  # of the patches that enter, where not all do
        if token_mask is not None:
            if token_mask.masked.shape != patches.shape[:2]:
                raise ValueError(
                    f'MaskedViT: the mask is {tuple(token_mask.masked.shape)}, expected '
                    f'{tuple(patches.shape[:2])} for images of {tuple(images.shape[-2:])} pixels'
                )
            entering = self._entering(token_mask)
            if self.hidden == 'replace':
                masked = token_mask.masked.unsqueeze(-1)
                patches = torch.where(masked, self.mask_token.to(patches.dtype), patches)
            if entering is not None:
                # Positions first, so that what stays keeps its place.
                patches = entering.gather(patches + positions[:, self.num_extra_tokens :])
                positions = None
                index, valid = entering.index, entering.valid
        if positions is not None:
            patches = patches + positions[:, self.num_extra_tokens :]
        tokens = patches
        if extra is not None:
            tokens = torch.cat([extra.expand(len(images), -1, -1), patches], dim=1)  # (B, E + T, D)
        tokens = self.pre_norm(self.drop_after_pos(tokens))

        bias = self._attention_bias(grid, index, valid)
        for layer in self.layers[:-1]:
            tokens, _ = run_block(layer, tokens, bias)
        tokens, row = run_block(self.layers[-1], tokens, bias, cls_row=cls_attention)
        if self.final_norm:
            tokens = self.ln1(tokens)
        split = self.num_extra_tokens
        if row is not None:
            row = row[..., split:]
        return Tokens(tokens[:, :split], tokens[:, split:], grid, row)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.rel_pos_bias is None:
            return super().forward(images)
        tokens, grid = self.patch_embed(images)
        if self.with_cls_token:
            tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        tokens = self.pre_norm(self.drop_after_pos(tokens))
        bias = self._attention_bias(grid)
        outputs = []
        for depth, layer in enumerate(self.layers):
            tokens, _ = run_block(layer, tokens, bias)
            if depth == len(self.layers) - 1 and self.final_norm:
                tokens = self.ln1(tokens)
            if depth in self.out_indices:
                outputs.append(self._format_output(tokens, grid))
        return tuple(outputs)

    def _entering(self, token_mask: TokenMask):
        """The subset of patches that enters the first block, or None where all do."""
        if self.hidden == 'drop':
            return token_mask.visible_subset
        return token_mask.kept_subset if token_mask.counts['thrown'] != (0, 0) else None

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, E + N, D) for any grid, resized as in forward(); zeros where only relative positions are used."""
        if self.pos_embed is None:
            return self.patch_embed.projection.weight.new_zeros(
                1, self.num_extra_tokens + grid[0] * grid[1], self.embed_dims
            )
        return resize_pos_embed(
            self.pos_embed, self.patch_resolution, grid, self.interpolate_mode, self.num_extra_tokens
        )

    def _prepare_pos_embed(self, state_dict: dict, prefix: str, *args) -> None:
        if self.pos_embed is not None:  # else a position embedding in a checkpoint stays an unexpected key
            super()._prepare_pos_embed(state_dict, prefix, *args)

    def _attention_bias(
        self, grid: tuple[int, int], index: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor | None:
        """(1 or B, 1 or heads, T, T), added to the attention logits; or None.

        Holds the relative positions of the tokens that entered, and keeps the padding of rows that have fewer
        of them from being attended to.
        """
        extra = self.num_extra_tokens
        bias = None
        if self.rel_pos_bias is not None:
            bias = relative_bias(self.rel_pos_bias, grid).unsqueeze(0)  # (1, heads, E + N, E + N)
            if index is not None:
                fixed = torch.arange(extra, device=index.device).expand(len(index), -1)
                places = torch.cat([fixed, index + extra], dim=1)  # (B, T)
                bias = bias[0][:, places[:, :, None], places[:, None, :]].transpose(0, 1)
        if valid is not None:
            padding = torch.zeros(len(valid), extra + valid.shape[1], device=valid.device)
            padding[:, extra:].masked_fill_(~valid, float('-inf'))
            padding = padding[:, None, None, :]
            bias = padding if bias is None else bias + padding
        return bias


def _trunc_normal(weight: Tensor) -> None:
    trunc_normal_(weight, std=0.02)


def relative_bias(module: RelativePositionBias, grid: tuple[int, int]) -> Tensor:
    """(heads, E + N, E + N) for any grid; the table of another grid is resized (bicubic), its [CLS] rows kept."""
    if tuple(grid) == tuple(module.window_size):
        return module()
    table = module.relative_position_bias_table  # (distances + 3 or 0, heads)
    rows, columns = (2 * side - 1 for side in module.window_size)
    distances = table[: rows * columns].T.reshape(1, -1, rows, columns).float()
    size = [2 * side - 1 for side in grid]
    distances = F.interpolate(distances, size=size, mode='bicubic', align_corners=False)
    entries = torch.cat([distances.flatten(2)[0].T.to(table.dtype), table[rows * columns :]])
    with_cls = len(table) > rows * columns
    index = RelativePositionBias(grid, 1, with_cls).relative_position_index.to(table.device)
    return entries[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)


def run_block(
    layer: TransformerEncoderLayer, tokens: Tensor, bias: Tensor | None = None, cls_row: bool = False
) -> tuple[Tensor, Tensor | None]:
    """mmpretrain's block with what its attention lacks: a bias on the logits, and the first token's row.

    Returns the tokens (B, T, D) and, with ``cls_row``, the attention of token 0 to all (B, heads, T) in
    float32. The row is computed from its own query, O(T d); attention itself stays fused.
    """
    attn = layer.attn
    if bias is None and not cls_row:
        return layer(tokens), None
    batch, count, _ = tokens.shape
    qkv = attn.qkv(layer.ln1(tokens)).reshape(batch, count, 3, attn.num_heads, attn.head_dims)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, d)
    mixed = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if bias is None else bias.to(query.dtype),
        dropout_p=attn.attn_drop if layer.training else 0.0,
    )
    mixed = attn.proj(mixed.transpose(1, 2).reshape(batch, count, attn.embed_dims))
    row = None
    if cls_row:
        # Ties are likely at 16 bits, and whoever ranks by this row would break them by chance.
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            logits = (query[:, :, :1].float() @ key.float().transpose(-2, -1)).squeeze(2)
            logits = logits / math.sqrt(attn.head_dims)
            if bias is not None:
                logits = logits + bias[:, :, 0]
            row = logits.softmax(-1)
    tokens = tokens + attn.out_drop(attn.gamma1(attn.proj_drop(mixed)))
    return layer.ffn(layer.ln2(tokens), identity=tokens), row
