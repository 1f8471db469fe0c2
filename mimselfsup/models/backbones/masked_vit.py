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

from .positions import resize_positions_as_dino, sincos_positions
from .tokens import Tokens

HIDDEN = ('drop', 'replace', 'compress')
POSITIONS = ('learned', 'sincos', 'shared_relative')
POSITION_RESIZES = ('exact', 'dino')
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
            learned mask token in their place (SimMIM, BEiT, MaskFeat, iBOT), 'compress' leaves them out too and
            hands out what the [CLS] tokens were after every block, for a ProxyDecoder (SemanticMIM).
        num_cls_tokens: learned tokens that stand before the patches; SemanticMIM's proxies are 8 of them. All take part
            in what one [CLS] token is asked for: ``out_type='cls_token'`` and ``cls_attention`` are means over them.
        position: 'learned'; 'sincos', fixed (MAE); 'shared_relative', one table of relative biases for all
            blocks and no absolute embedding (SimMIM's ViT, BEiT in pre-training).
        position_resize: how absolute positions are resized for a grid g other than their own, G: 'exact', by g / G;
            'dino', by (g + 0.1) / G, as DINO's and iBOT's released code does, whose sampling points lie up to 0.2 of a
            cell off. In ``forward`` too.
        weight_init: 'xavier' (MAE), 'trunc_normal' (0.02; DINO), 'trunc_normal_rescaled' (SimMIM, BEiT: as before,
            and the output projections of block l, from 1, are divided by sqrt(2 l)).
        norm_taps: ``forward`` applies the final norm to every block of ``out_indices`` and not to the last block alone
            (iBOT's segmentation).
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
        num_cls_tokens: int = 1,
        position: str = 'learned',
        position_resize: str = 'exact',
        weight_init: str = 'trunc_normal',
        norm_taps: bool = False,
        **kwargs,
    ) -> None:
        for name, value, allowed in (
            ('hidden', hidden, HIDDEN),
            ('position', position, POSITIONS),
            ('position_resize', position_resize, POSITION_RESIZES),
            ('weight_init', weight_init, INITS),
        ):
            if value not in allowed:
                raise ValueError(f'MaskedViT: {name}={value!r}, must be one of {allowed}')
        if isinstance(arch, str) and arch.lower() not in self.arch_zoo:
            raise ValueError(f'MaskedViT: arch={arch!r}, must be one of {sorted(self.arch_zoo)} or a dict')
        with_cls_token = kwargs.get('with_cls_token', True)
        if num_cls_tokens < 1 or (num_cls_tokens > 1 and not with_cls_token):
            raise ValueError(
                f'MaskedViT: num_cls_tokens={num_cls_tokens}, must be at least 1; with_cls_token=False, without '
                f'num_cls_tokens, is for none'
            )
        if hidden == 'compress' and not with_cls_token:
            raise ValueError("MaskedViT: hidden='compress' hands out [CLS] tokens; remove with_cls_token=False")
        if num_cls_tokens > 1 and position == 'shared_relative':
            raise ValueError(
                f"MaskedViT: position='shared_relative' has biases for one [CLS] token, not for "
                f"num_cls_tokens={num_cls_tokens}; use 'learned' or 'sincos'"
            )
        if norm_taps and not kwargs.get('final_norm', True):
            raise ValueError('MaskedViT: norm_taps=True applies the final norm; remove final_norm=False')
        self.num_extra_tokens = num_cls_tokens  # the parent makes room for so many, or none, in its position embedding
        super().__init__(arch, **kwargs)
        if num_cls_tokens > 1:
            self.cls_token = nn.Parameter(torch.zeros(1, num_cls_tokens, self.embed_dims))
        self.hidden = hidden
        self.position = position
        self.position_resize = position_resize
        self.norm_taps = norm_taps
        self.gives_attention = self.with_cls_token
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
        init_blocks(self.layers, self.weight_init)
        linear_init = nn.init.xavier_uniform_ if self.weight_init == 'xavier' else _trunc_normal
        linear_init(self.patch_embed.projection.weight.flatten(1))  # a view: as the linear layer that it is
        if self.patch_embed.projection.bias is not None:
            nn.init.zeros_(self.patch_embed.projection.bias)
        for token in (self.cls_token, getattr(self, 'mask_token', None)):
            if token is not None:
                nn.init.normal_(token, std=0.02)

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

        Thrown tokens never enter. With ``cls_attention`` the last block's [CLS] row is handed out as well, the mean
        of the rows where there are several [CLS] tokens; it costs a query each, not an attention map.
        """
        grid = self.token_grid(images.shape[-2:])
        patches = self.patch_embed(images)[0]  # (B, N, D)
        positions = self.positions(grid)
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
        split = self.num_extra_tokens
        # Only for a mask: the slices keep the outputs of all blocks alive, which a backward pass does anyway.
        proxies = [] if self.hidden == 'compress' and token_mask is not None else None
        for layer in self.layers:
            asked = split if cls_attention and layer is self.layers[-1] else 0
            tokens, row = run_block(layer, tokens, bias, cls_rows=asked)
            if proxies is not None:
                proxies.append(tokens[:, :split])
        if self.final_norm:
            tokens = self.ln1(tokens)
        if row is not None:
            row = row[..., split:]
        return Tokens(tokens[:, :split], tokens[:, split:], grid, row, proxies)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.rel_pos_bias is None and self.position_resize == 'exact' and not self.norm_taps:
            return super().forward(images)
        tokens, grid = self._enter(images)
        bias = self._attention_bias(grid)
        outputs = []
        for depth, layer in enumerate(self.layers):
            tokens, _ = run_block(layer, tokens, bias)
            if depth in self.out_indices:
                normed = self.final_norm and (self.norm_taps or depth == len(self.layers) - 1)
                outputs.append(self._format_output(self.ln1(tokens) if normed else tokens, grid))
        return tuple(outputs)

    def encode_last(self, images: Tensor, blocks: int) -> list[Tokens]:
        """What each of the last ``blocks`` blocks hands on of whole images, in the order of the network.

        The final norm, if there is one, is applied to each of them, as in DINO's ``get_intermediate_layers``; the last
        is what :meth:`encode` gives. Raises ValueError for more blocks than there are.
        """
        if not 1 <= blocks <= len(self.layers):
            raise ValueError(f'MaskedViT: the last {blocks} blocks are asked for, it has {len(self.layers)}')
        self.token_grid(images.shape[-2:])  # refuses what the patches do not tile
        tokens, grid = self._enter(images)
        bias = self._attention_bias(grid)
        split = self.num_extra_tokens
        found = []
        for depth, layer in enumerate(self.layers):
            tokens, _ = run_block(layer, tokens, bias)
            if depth >= len(self.layers) - blocks:
                normed = self.ln1(tokens) if self.final_norm else tokens
                found.append(Tokens(normed[:, :split], normed[:, split:], grid))
        return found

    def _enter(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """What the first block sees of whole images, (B, E + N, D), and their grid."""
        tokens, grid = self.patch_embed(images)
        if self.with_cls_token:
            tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + self.positions(grid)
        return self.pre_norm(self.drop_after_pos(tokens)), grid

    def _entering(self, token_mask: TokenMask):
        """The subset of patches that enters the first block, or None where all do."""
        if self.hidden != 'replace':
            return token_mask.visible_subset
        return None if token_mask.throws_nothing else token_mask.kept_subset

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, E + N, D) for any grid, resized as in forward(); zeros where only relative positions are used."""
        if self.pos_embed is None:
            return self.patch_embed.projection.weight.new_zeros(
                1, self.num_extra_tokens + grid[0] * grid[1], self.embed_dims
            )
        resize = resize_pos_embed if self.position_resize == 'exact' else resize_positions_as_dino
        return resize(self.pos_embed, self.patch_resolution, grid, self.interpolate_mode, self.num_extra_tokens)

    def _prepare_pos_embed(self, state_dict: dict, prefix: str, *args) -> None:
        saved = state_dict.get(prefix + 'cls_token')
        if saved is not None and self.cls_token is not None and saved.shape[1] != self.cls_token.shape[1]:
            # Loading would go on without the token, and with positions that stand one place off.
            raise ValueError(
                f'MaskedViT: the checkpoint has {saved.shape[1]} [CLS] tokens and the model {self.cls_token.shape[1]}; '
                f'set num_cls_tokens={saved.shape[1]}'
            )
        if self.pos_embed is not None:  # else a position embedding in a checkpoint stays an unexpected key
            super()._prepare_pos_embed(state_dict, prefix, *args)

    def _format_output(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'cls_token':
            return tokens[:, : self.num_extra_tokens].mean(1)
        return super()._format_output(tokens, grid)

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


def init_blocks(blocks: nn.ModuleList, weight_init: str) -> None:
    """Draws the weights of the linear layers of a stack of blocks; ``weight_init`` as MaskedViT's."""
    linear_init = nn.init.xavier_uniform_ if weight_init == 'xavier' else _trunc_normal
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            linear_init(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if weight_init == 'trunc_normal_rescaled':
        for depth, block in enumerate(blocks, start=1):
            block.attn.proj.weight.data.div_(math.sqrt(2 * depth))
            block.ffn.layers[1].weight.data.div_(math.sqrt(2 * depth))


def _trunc_normal(weight: Tensor) -> None:
    trunc_normal_(weight, std=0.02)


def relative_bias(module: nn.Module, grid: tuple[int, int]) -> Tensor:
    """(heads, E + N, E + N) for any grid; the table of another grid is resized (bicubic), its [CLS] rows kept.

    ``module``: of mmpretrain, what holds a table, its index and their ``window_size``.
    """
    entries, index = module.relative_position_bias_table, module.relative_position_index
    if tuple(grid) != tuple(module.window_size):
        rows, columns = (2 * side - 1 for side in module.window_size)
        table = entries  # (distances + 3 or 0, heads)
        distances = table[: rows * columns].T.reshape(1, -1, rows, columns).float()
        size = [2 * side - 1 for side in grid]
        distances = F.interpolate(distances, size=size, mode='bicubic', align_corners=False)
        entries = torch.cat([distances.flatten(2)[0].T.to(table.dtype), table[rows * columns :]])
        with_cls = len(table) > rows * columns
        index = RelativePositionBias(grid, 1, with_cls).relative_position_index.to(table.device)
    return entries[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)


def run_block(
    layer: TransformerEncoderLayer, tokens: Tensor, bias: Tensor | None = None, cls_rows: int = 0, keys_only: int = 0
) -> tuple[Tensor, Tensor | None]:
    """mmpretrain's block with what its attention lacks: a bias on the logits, the first tokens' rows, and keys.

    Returns the tokens (B, T, D) and, with ``cls_rows``, the attention of the first so many tokens to all, averaged
    over them, (B, heads, T) in float32. The rows are computed from their own queries, O(T d) each; attention itself
    stays fused. The first ``keys_only`` tokens are attended to and do nothing else: (B, T - keys_only, D) come out.
    """
    attn = layer.attn
    if bias is None and not cls_rows and not keys_only:
        return layer(tokens), None
    batch, count, _ = tokens.shape
    qkv = attn.qkv(layer.ln1(tokens)).reshape(batch, count, 3, attn.num_heads, attn.head_dims)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, d)
    if keys_only:
        query, tokens = query[:, :, keys_only:], tokens[:, keys_only:]
    mixed = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if bias is None else bias.to(query.dtype),
        dropout_p=attn.attn_drop if layer.training else 0.0,
    )
    mixed = attn.proj(mixed.transpose(1, 2).flatten(2))
    row = None
    if cls_rows:
        # Ties are likely at 16 bits, and whoever ranks by this row would break them by chance.
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            logits = query[:, :, :cls_rows].float() @ key.float().transpose(-2, -1) / math.sqrt(attn.head_dims)
            if bias is not None:
                logits = logits + bias[:, :, :cls_rows]
            row = logits.softmax(-1).mean(2)
    tokens = tokens + attn.out_drop(attn.gamma1(attn.proj_drop(mixed)))
    return layer.ffn(layer.ln2(tokens), identity=tokens), row
