"""What a mask-aware backbone hands out."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Tokens:
    """Encoded tokens, after the final norm.

    Attributes:
        extra: (B, E, D), [CLS] first; E = 0 in a backbone without extra tokens (Swin).
        patches: (B, T, D): the tokens of ``grid``, row-major; where masked tokens are dropped only the
            visible ones, in the order of ``TokenMask.visible_subset``.
        grid: (h, w) of a full map of ``patches``; Swin's is coarser than the grid that is masked.
        cls_attention: (B, heads, T) or None: the last block's attention of [CLS] to the patch tokens, a
            softmax over all keys of which the columns of the extra tokens are left out. Of Swin, which has no
            [CLS], the attention that tokens receive, on the grid that is masked: see ``MaskedSwin.encode``.
            Of several [CLS] tokens the mean: each of SemanticMIM's proxies looks at a region of its own.
        proxies: the extra tokens as each block left them, (B, E, D) each, before the final norm; only from a
            MaskedViT with ``hidden='compress'`` that was given a mask, else None.
    """

    extra: Tensor
    patches: Tensor
    grid: tuple[int, int]
    cls_attention: Tensor | None = None
    proxies: list[Tensor] | None = None


def image_feature(tokens: Tokens) -> Tensor:
    """(B, D): the [CLS] token, or the mean of the patches where there is none (Swin, ResNet)."""
    return tokens.extra[:, 0] if tokens.extra.shape[1] else tokens.patches.mean(1)
