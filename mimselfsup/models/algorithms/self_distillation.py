"""Self-distillation: a student predicts what its own average sees. DINO, iBOT, AttMask and MST are configs of it."""

import math

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mimselfsup.datasets.transforms.multi_crop import view_samples
from mimselfsup.models.backbones.tokens import Tokens, image_feature
from mimselfsup.models.losses.distillation import entropy
from mimselfsup.models.saliency import EncoderAttention
from mimselfsup.models.saliency.teacher import mean_over_heads
from mimselfsup.registry import MASKINGS, MODELS
from mimselfsup.structures import TokenMask

from .base import BaseAlgorithm

GLOBAL_VIEWS = 2


@MODELS.register_module()
class SelfDistillation(BaseAlgorithm):
    """A student, and a teacher that is the exponential moving average of it.

    The teacher sees two global views as they are, the student sees them with patches hidden, and small local
    views. The student is to give, for each view, the teacher's distribution over prototypes on another one (DINO);
    with ``patch_loss`` also, at each hidden patch, the teacher's there (iBOT); with ``restoration`` also the whole
    view in pixels (MST).

    Args:
        backbone: MaskedViT, MaskedSwin or TokenResNet. The teacher is built from it too, without stochastic depth.
        projector: of both; see Projector.
        loss: CrossViewLoss.
        masking: what to hide of the student's global views; None hides nothing.
        saliency: where attention comes from, for a masking that ranks by it. EncoderAttention is the teacher's, in
            the forward pass that it makes anyway; AttentionBank works as well.
        masking_before: what to hide while the source of saliency knows nothing yet.
        masking_from_epoch: nothing is hidden before (iBOT's Swin: 50).
        patch_loss: MaskedPatchLoss, or None.
        restoration: ConvDecoder, or None. Its loss is the mean absolute difference over all pixels of the global views,
            normalised as they are fed in.
        restoration_weight: 0.6 in MST.
        momentum: of the average at the start; rises to 1 along half a cosine.
        data_preprocessor: see MultiCropPreprocessor.

    The teacher's backbone is ``backbone``, what is evaluated and what ``--pretrained`` takes from a checkpoint.
    """

    def __init__(
        self,
        backbone: dict,
        projector: dict,
        loss: dict,
        masking: dict | None = None,
        saliency: dict | None = None,
        masking_before: dict | None = None,
        masking_from_epoch: int = 0,
        patch_loss: dict | None = None,
        restoration: dict | None = None,
        restoration_weight: float = 0.6,
        momentum: float = 0.996,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if not 0 <= momentum <= 1:
            raise ValueError(f'SelfDistillation: momentum={momentum}, must lie in [0, 1]; 0.996 is usual')
        self.student = Network(backbone, projector)
        without_drops = {**backbone, 'drop_path_rate': 0.0} if 'drop_path_rate' in backbone else backbone
        self.teacher = Network(without_drops, projector).requires_grad_(False)
        self.loss_function = MODELS.build(dict(num_prototypes=self.student.projector.num_prototypes, **loss))
        self.patch_loss_function = None
        if patch_loss is not None:
            prototypes = self.student.projector.num_patch_prototypes
            self.patch_loss_function = MODELS.build(dict(num_prototypes=prototypes, **patch_loss))
        self.restoration = None
        if restoration is not None:
            sizes = dict(in_channels=self.backbone.out_channels, stride=self.backbone.out_stride[0])
            self.restoration = MODELS.build(dict(**sizes, **restoration))
        self.restoration_weight = restoration_weight
        self.momentum = momentum
        self.masking = None if masking is None else MASKINGS.build(masking)
        self.masking_before = None if masking_before is None else MASKINGS.build(masking_before)
        self.masking_from_epoch = masking_from_epoch
        self.saliency = None if saliency is None else MODELS.build(saliency)
        self.last_assignments: Tensor | None = None
        self._check()
        if self.masking is None and hasattr(self.backbone, 'mask_token'):  # as a Swin always has; it gets no gradient
            self.student.backbone.mask_token.requires_grad_(False)

    def _check(self) -> None:
        hidden = getattr(self.backbone, 'hidden', 'replace')
        name, masking = type(self.backbone).__name__, type(self.masking).__name__
        if self.masking is None:
            if self.patch_loss_function is not None:
                raise ValueError(
                    'SelfDistillation: patch_loss is taken at masked patches, but there is no masking; add '
                    "masking=dict(type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5)"
                )
            if hasattr(self.backbone, 'mask_token') and hasattr(self.backbone, 'hidden'):
                raise ValueError(
                    f'SelfDistillation: nothing is masked, so the mask token of {name} would get no gradient, which '
                    f"distributed training refuses; set hidden='drop', or add a masking"
                )
            return
        if not hasattr(self.backbone, 'hidden') and not hasattr(self.backbone, 'mask_token'):
            raise ValueError(
                f'SelfDistillation: masking {masking} hides patches, which {name} cannot; set masking=None and '
                f'patch_loss=None, or use a MaskedViT or a MaskedSwin'
            )
        if self.patch_loss_function is not None and hidden != 'replace':
            raise ValueError(
                f'SelfDistillation: patch_loss reads tokens at masked patches, but {name} drops them; set '
                f"hidden='replace'"
            )
        strategies = [each for each in (self.masking, self.masking_before) if each is not None]
        throws = any(each.throws for each in strategies)
        if throws and not hasattr(self.backbone, 'hidden'):
            raise ValueError(f'SelfDistillation: {masking} throws tokens, which {name} cannot; set throw_ratio=0')
        cells = self._cells
        for each in strategies if self.patch_loss_function is not None else ():
            if getattr(each, 'unit', 1) % cells:
                raise ValueError(
                    f'SelfDistillation: patch_loss is taken at the tokens that {name} gives, of {cells} x {cells} '
                    f'patches, of which {type(each).__name__} may hide parts; use a masking with unit={cells}'
                )
        if self.restoration is not None and (hidden != 'replace' or throws):
            raise ValueError(
                "SelfDistillation: restoration needs a token for every patch; set hidden='replace' on the backbone "
                'and a masking that throws nothing'
            )
        self.check_saliency_source()
        if getattr(self.backbone, 'with_cls_token', True) is False and (hidden != 'replace' or throws):
            raise ValueError(
                f'SelfDistillation: without a [CLS] token the mean of all tokens is the feature of a view, but {name} '
                f"loses some of them; set with_cls_token=True, or hidden='replace' and a masking that throws nothing"
            )
        if self.saliency is not None:
            self.saliency.bind(self.backbone)

    @property
    def backbone(self) -> nn.Module:
        return self.teacher.backbone

    def init_weights(self) -> None:
        super().init_weights()
        if hasattr(self.student.backbone, 'mask_token'):
            nn.init.zeros_(self.student.backbone.mask_token)  # as in iBOT; MAE and SimMIM draw theirs
        self.teacher.load_state_dict(self.student.state_dict())

    def loss(self, views: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """``views``: each (B, 3, H, W), normalised; two global ones, then any number of local ones of one size."""
        global_views = torch.cat(views[:GLOBAL_VIEWS])  # (2 B, 3, H, W), view by view
        student, teacher = self.student, self.teacher

        with torch.no_grad():
            seen = teacher.backbone.encode(global_views, cls_attention=self._attention_is_the_teachers)
            mask = self.draw_mask(views, seen, data_samples)
            teacher_logits = teacher.projector.logits(teacher.projector(image_feature(seen), GLOBAL_VIEWS))
            targets = self.loss_function.targets(teacher_logits, self.epoch)
            self.loss_function.update_center(teacher_logits.sum(0, dtype=torch.float32), len(teacher_logits))
            if self.patch_loss_function is not None:
                hidden_tokens = self._of_tokens(mask, seen.grid)
                patch_targets = self._patch_targets(seen, hidden_tokens)

        tokens = student.backbone.encode(global_views, mask)
        local_features = None
        if len(views) > GLOBAL_VIEWS:
            local_features = image_feature(student.backbone.encode(torch.cat(views[GLOBAL_VIEWS:])))
        vectors = student.projector(image_feature(tokens), GLOBAL_VIEWS, local_features)
        across_views = self.loss_function(student.projector.logits(vectors), targets)
        losses = dict(loss_cls=self.loss_function.weight * across_views)

        if self.patch_loss_function is not None:
            patches = self._patch_loss(tokens, hidden_tokens, patch_targets)
            losses['loss_patch'] = self.patch_loss_function.weight * patches
        if self.restoration is not None:
            restored = self.restoration(tokens, views=GLOBAL_VIEWS)
            losses['loss_restoration'] = self.restoration_weight * F.l1_loss(restored.float(), global_views)
        return losses | self._statistics(across_views, targets, mask)

    def _of_tokens(self, mask: TokenMask, grid: tuple[int, int]) -> TokenMask:
        """The mask of the tokens that come out, which cover several patches each in a hierarchy."""
        cells = self._cells
        return mask.coarsened(tuple(side * cells for side in grid), cells, only_whole=True)  # see _check

    @property
    def _cells(self) -> int:
        return self.backbone.out_stride[0] // self.backbone.patch_size[0]

    def _patch_targets(self, seen: Tokens, mask: TokenMask) -> Tensor:
        """(T, K): of the masked patches, which alone go through the teacher's layer of prototypes."""
        teacher, distillation = self.teacher.projector, self.patch_loss_function
        patches = seen.patches.flatten(0, 1)
        if distillation.center_over == 'masked':
            vectors = teacher(patches.index_select(0, mask.masked_places))
            logits = teacher.patch_logits(vectors)
            total, count = logits.sum(0, dtype=torch.float32), len(logits)
        else:
            vectors = teacher(patches)
            logits = teacher.patch_logits(vectors.index_select(0, mask.masked_places))
            total, count = teacher.summed_patch_logits(vectors), len(vectors)
        targets = distillation.targets(logits, self.epoch)
        distillation.update_center(total, count)
        return targets

    def _patch_loss(self, tokens: Tokens, mask: TokenMask, targets: Tensor) -> Tensor:
        """The masked patches alone go through the student's head."""
        student = self.student.projector
        masked = tokens.patches.flatten(0, 1).index_select(0, mask.masked_places_in_kept)
        predicted = student.patch_logits(student(masked))
        rows = mask.masked_places // mask.masked.shape[1]
        return self.patch_loss_function(predicted, targets, rows, mask.masked.sum(1))

    def draw_mask(self, views: list[Tensor], seen: Tokens, data_samples: list | None) -> TokenMask | None:
        """What to hide of the student's global views (2 B rows, view by view), by the attention of the teacher, who
        has seen them, or of another source."""
        if self.masking is None:
            return None
        grid = self.backbone.token_grid(views[0].shape[-2:])
        rows, device = GLOBAL_VIEWS * len(views[0]), views[0].device
        if self.epoch < self.masking_from_epoch:
            return TokenMask.none(rows, grid[0] * grid[1], device)
        if not self.masking.needs_saliency:
            return self.masking(grid, rows, device=device)
        if self._attention_is_the_teachers:
            return self.masking(grid, rows, mean_over_heads(seen.cls_attention))
        maps = [
            self.saliency(view, None if data_samples is None else view_samples(data_samples, place), grid)
            for place, view in enumerate(views[:GLOBAL_VIEWS])
        ]
        if maps[0] is not None:
            return self.masking(grid, rows, torch.cat(maps))
        if self.masking_before is not None:
            return self.masking_before(grid, rows, device=device)
        return self.masking(grid, rows, torch.ones(rows, grid[0] * grid[1], device=device))

    @property
    def _attention_is_the_teachers(self) -> bool:
        return self.masking is not None and self.masking.needs_saliency and isinstance(self.saliency, EncoderAttention)

    @torch.no_grad()
    def _statistics(self, cross_entropy: Tensor, targets: Tensor, mask: TokenMask | None) -> dict[str, Tensor]:
        """What people watch for collapse. All in nats, of this process's batch.

        ``batch_entropy`` near 0: all images fall on one prototype; ``teacher_entropy`` near ln K: every
        distribution is uniform. ``teacher_student_kl`` is what the student could still learn of the targets.
        """
        self.last_assignments = targets[: len(targets) // GLOBAL_VIEWS].argmax(-1)
        teacher_entropy = entropy(targets).mean()
        statistics = dict(
            teacher_entropy=teacher_entropy,
            teacher_student_kl=cross_entropy.detach() - teacher_entropy,
            batch_entropy=entropy(targets.mean(0)),
        )
        if mask is not None:
            statistics['masked_fraction'] = mask.masked.float().mean()
        return statistics

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        """theta_t <- m theta_t + (1 - m) theta_s, with m of the iteration that ends; parameters only."""
        momentum = 1 + (self.momentum - 1) / 2 * (1 + math.cos(math.pi * self.progress))
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - momentum)

    @torch.no_grad()
    def after_pretrained(self) -> None:
        """``backbone`` has been filled from a checkpoint: the student begins there too."""
        self.student.backbone.load_state_dict(self.backbone.state_dict())


class Network(BaseModule):
    """A backbone and its projector."""

    def __init__(self, backbone: dict, projector: dict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.projector = MODELS.build(dict(in_channels=self.backbone.out_channels, **projector))
