"""iBOT with AttMask in the order of operations of the published code, as something to compare with.

Attention is written out in every block, N x N, and the last block's is handed out whole; the heads run on all tokens of
student and teacher; all logits, probabilities and log-probabilities of all views exist at the same time; EMA and AdamW
go through the parameters one by one. The weights are those of a SelfDistillation model, so losses can be compared, not
only speed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def explicit_attention(layer: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """A transformer block whose attention is a product, a softmax and a product; tokens and (B, heads, T, T)."""
    attn = layer.attn
    batch, count, width = tokens.shape
    qkv = attn.qkv(layer.ln1(tokens)).reshape(batch, count, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = qkv
    weights = (query @ key.transpose(-2, -1) * attn.head_dims**-0.5).softmax(-1)
    mixed = attn.proj((weights @ value).transpose(1, 2).reshape(batch, count, width))
    tokens = tokens + attn.out_drop(attn.gamma1(mixed))
    return layer.ffn(layer.ln2(tokens), identity=tokens), weights


def forward(backbone: nn.Module, images: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Tokens (B, 1 + N, D), [CLS] first, after the final norm; and the last block's attention."""
    grid = backbone.token_grid(images.shape[-2:])
    patches = backbone.patch_embed(images)[0]
    if masked is not None:
        patches = torch.where(masked.unsqueeze(-1), backbone.mask_token.to(patches.dtype), patches)
    tokens = torch.cat([backbone.cls_token.expand(len(images), -1, -1), patches], 1) + backbone.positions(grid)
    for layer in backbone.layers:
        tokens, attention = explicit_attention(layer, tokens)
    return backbone.ln1(tokens), attention


def head(projector: nn.Module, features: Tensor) -> Tensor:
    return projector.last_layer(F.normalize(projector.mlp(features), dim=-1))


def losses(model: nn.Module, views: list[Tensor], masking) -> dict[str, Tensor]:
    """The losses of ``model``, a SelfDistillation with a shared head, in the plain way.

    ``masking(attention)`` -> bool (2 B, N), of the saliency (2 B, N). Centres are updated.
    """
    batch, wanted = len(views[0]), model.loss_function
    wanted_of_patches = model.patch_loss_function
    whole = torch.cat(views[:2])
    with torch.no_grad():
        tokens, attention = forward(model.teacher.backbone, whole)
        masked = masking(attention.float().mean(1)[:, 0, 1:])
        teacher_logits = head(model.teacher.projector, tokens)  # (2 B, 1 + N, K)

    tokens, _ = forward(model.student.backbone, whole, masked)
    student_logits = head(model.student.projector, tokens)
    local_tokens, _ = forward(model.student.backbone, torch.cat(views[2:]))
    local_logits = head(model.student.projector, local_tokens[:, 0])

    with torch.autocast(whole.device.type, enabled=False):
        teacher_logits = teacher_logits.float()
        temperature = wanted.teacher_temp
        targets = ((teacher_logits[:, 0] - wanted.center) / temperature).softmax(-1).chunk(2)
        patch_targets = ((teacher_logits[:, 1:] - wanted_of_patches.center) / wanted_of_patches.teacher_temp).softmax(
            -1
        )
        predicted = torch.cat([student_logits[:, 0], local_logits]).float() / wanted.student_temp
        patch_predicted = student_logits[:, 1:].float() / wanted_of_patches.student_temp

        across, terms = 0.0, 0
        for i, target in enumerate(targets):
            for j, view in enumerate(predicted.split(batch)):
                if i != j:
                    across = across - (target * F.log_softmax(view, -1)).sum(-1).mean()
                    terms += 1
        each = -(patch_targets * F.log_softmax(patch_predicted, -1)).sum(-1)  # (2 B, N)
        per_row = (each * masked).sum(-1) / masked.sum(-1).clamp(min=1)

        means = teacher_logits[:, 0].mean(0, keepdim=True), teacher_logits[:, 1:].mean((0, 1)).unsqueeze(0)
        for part, mean in zip((wanted, wanted_of_patches), means, strict=True):
            part.center.copy_(part.center * part.center_momentum + mean * (1 - part.center_momentum))
    return dict(loss_cls=across / terms, loss_patch=per_row.mean())


@torch.no_grad()
def update_teacher(model: nn.Module) -> None:
    momentum = 1 + (model.momentum - 1) / 2 * (1 + math.cos(math.pi * model.progress))
    for averaged, current in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
        averaged.data.mul_(momentum).add_((1 - momentum) * current.detach().data)


def optimizer(model: nn.Module, **settings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.student.parameters(), foreach=False, fused=False, **settings)
