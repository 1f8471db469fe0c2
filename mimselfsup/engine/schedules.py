"""Optimizer and learning-rate recipes, for use inside configs.

    _base_ = [...]                                              # first, or MMEngine takes the other dialect
    from mimselfsup.engine.schedules import adamw_cosine

    optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
        epochs=800, warmup_epochs=40, base_lr=1.5e-4, batch_size=4096)

They return plain dicts, which MMEngine writes out in full beside the run.
"""

# A linear warm-up is a product of ratios in MMEngine, which cannot leave 0.
_SMALLEST_START = 1e-6


def adamw_cosine(
    epochs: int,
    warmup_epochs: float,
    base_lr: float,
    batch_size: int,
    lr_unit: int = 256,
    betas: tuple[float, float] = (0.9, 0.95),
    weight_decay: float = 0.05,
    final_weight_decay: float | None = None,
    min_lr: float = 0.0,
    warmup_lr: float = 0.0,
    clip_grad: float | None = None,
    accumulate: int = 1,
    paramwise_cfg: dict | None = None,
) -> tuple[dict, list[dict], dict]:
    """AdamW with a linear warm-up and then half a cosine, changing at every iteration.

    ``base_lr``, ``min_lr`` and ``warmup_lr`` (where the warm-up begins) are per ``lr_unit`` images;
    ``batch_size`` is all images of one optimizer step, over processes and accumulated batches, and should be
    repeated as ``auto_scale_lr = dict(base_batch_size=...)``. ``clip_grad``: largest norm of the gradient.
    ``final_weight_decay``: the decay moves there from ``weight_decay`` along half a cosine over the whole run, without
    a warm-up, at every iteration (DINO: 0.04 to 0.4). ``paramwise_cfg``: by default biases, norms and other 1-D
    parameters do not decay, at any time.

    MAE's schedule (facebookresearch/mae at efb2a80, util/lr_sched.py), except that the warm-up reaches the
    full rate one iteration sooner, as MMEngine's ``LinearLR`` counts.

    Returns ``optim_wrapper, param_scheduler, train_cfg``.
    """
    _check_lengths(epochs, warmup_epochs)
    scale = batch_size / lr_unit
    schedulers = _warmup(warmup_epochs, warmup_lr / base_lr)
    if warmup_epochs < epochs:
        schedulers.append(
            dict(
                type='CosineAnnealingLR',
                T_max=epochs - warmup_epochs,
                eta_min=min_lr * scale,
                by_epoch=True,
                begin=warmup_epochs,
                end=epochs,
                convert_to_iter_based=True,
            )
        )
    if final_weight_decay is not None:
        schedulers.append(_decay_cosine(weight_decay, final_weight_decay, epochs))
    wrapper = _adamw(base_lr * scale, betas, weight_decay, clip_grad, accumulate, paramwise_cfg)
    return wrapper, schedulers, dict(by_epoch=True, max_epochs=epochs)


def adamw_step(
    epochs: int,
    warmup_epochs: float,
    milestones: list[int],
    base_lr: float,
    batch_size: int,
    gamma: float = 0.1,
    lr_unit: int = 512,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.05,
    warmup_lr: float = 0.0,
    clip_grad: float | None = None,
    accumulate: int = 1,
    paramwise_cfg: dict | None = None,
) -> tuple[dict, list[dict], dict]:
    """Like :func:`adamw_cosine`, with the rate multiplied by ``gamma`` at each epoch of ``milestones``.

    SimMIM's 800-epoch recipe (microsoft/SimMIM, ``MultiStepLRScheduler``): warm-up 10 epochs, x 0.1 at 700.
    """
    _check_lengths(epochs, warmup_epochs)
    late = [epoch for epoch in milestones if not warmup_epochs <= epoch < epochs]
    if late:
        raise ValueError(f'milestones={milestones}: {late} do not lie in [{warmup_epochs}, {epochs})')
    schedulers = _warmup(warmup_epochs, warmup_lr / base_lr)
    schedulers.append(dict(type='MultiStepLR', milestones=list(milestones), gamma=gamma, by_epoch=True))
    wrapper = _adamw(base_lr * batch_size / lr_unit, betas, weight_decay, clip_grad, accumulate, paramwise_cfg)
    return wrapper, schedulers, dict(by_epoch=True, max_epochs=epochs)


def _check_lengths(epochs: int, warmup_epochs: float) -> None:
    if not 0 <= warmup_epochs <= epochs:
        raise ValueError(f'warmup_epochs={warmup_epochs}, must lie in [0, {epochs}], the length of the run')


def _warmup(epochs: float, start: float) -> list[dict]:
    if not epochs:
        return []
    return [
        dict(
            type='LinearLR',
            start_factor=max(start, _SMALLEST_START),
            by_epoch=True,
            begin=0,
            end=epochs,
            convert_to_iter_based=True,
        )
    ]


def _decay_cosine(start: float, final: float, epochs: int) -> dict:
    if not start > 0 or final < 0:
        raise ValueError(
            f'final_weight_decay={final} with weight_decay={start}: the first must be 0 or more, the second above 0, '
            f'since parameters whose decay begins at 0 keep it'
        )
    return dict(
        type='mmpretrain.CosineAnnealingWeightDecay',
        T_max=epochs,
        eta_min_ratio=final / start,  # of each group's own, so that factors of paramwise_cfg hold to the end
        by_epoch=True,
        begin=0,
        end=epochs,
        convert_to_iter_based=True,
    )


def _adamw(
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    clip_grad: float | None,
    accumulate: int,
    paramwise_cfg: dict | None,
) -> dict:
    if paramwise_cfg is None:
        paramwise_cfg = dict(flat_decay_mult=0.0, bias_decay_mult=0.0, norm_decay_mult=0.0)
    wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=lr, betas=tuple(betas), weight_decay=weight_decay),
        constructor='mimselfsup.MergedOptimWrapperConstructor',
        paramwise_cfg=paramwise_cfg,
        accumulative_counts=accumulate,
    )
    if clip_grad is not None:
        wrapper['clip_grad'] = dict(max_norm=clip_grad)
    return wrapper
