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


def adamw_layer_decay(
    epochs: int,
    warmup_epochs: float,
    base_lr: float,
    batch_size: int,
    layer_decay: float,
    lr_unit: int = 256,
    weight_decay: float = 0.05,
    min_lr: float = 1e-6,
    warmup_lr: float = 0.0,
    clip_grad: float | None = None,
    accumulate: int = 1,
    custom_keys: dict | None = None,
) -> tuple[dict, list[dict], dict]:
    """Fine-tuning: :func:`adamw_cosine` with betas (0.9, 0.999) and rates that shrink by ``layer_decay`` per block.

    ``base_lr`` is per ``lr_unit`` images; ``min_lr`` and ``warmup_lr`` are not: they are the head's at ``batch_size``.
    A block's rate is the same share of the head's throughout, at the end too, as in MAE's and BEiT's code (SimMIM's has
    one lowest rate for all). ``custom_keys`` go to ``LayerDecayOptimWrapperConstructor``, which says what does not
    decay.

    Returns ``optim_wrapper, param_scheduler, train_cfg``.
    """
    lr = base_lr * batch_size / lr_unit
    wrapper, schedulers, train_cfg = adamw_cosine(
        epochs, warmup_epochs, lr, 1, 1, (0.9, 0.999), weight_decay, None, 0.0, warmup_lr, clip_grad, accumulate
    )
    for scheduler in schedulers:
        if 'eta_min' in scheduler:
            del scheduler['eta_min']
            scheduler['eta_min_ratio'] = min_lr / lr
    wrapper.update(
        constructor='mimselfsup.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=layer_decay, custom_keys=custom_keys or {}),
    )
    return wrapper, schedulers, train_cfg


def sgd_cosine(
    epochs: int, base_lr: float, batch_size: int, lr_unit: int = 256, momentum: float = 0.9
) -> tuple[dict, list[dict], dict]:
    """A linear probe as DINO's: SGD without weight decay, half a cosine to 0 that moves once per epoch.

    The last epoch has the rate lr (1 + cos(pi (epochs - 1) / epochs)) / 2. Returns ``optim_wrapper, param_scheduler,
    train_cfg``.
    """
    optimizer = dict(type='SGD', lr=base_lr * batch_size / lr_unit, momentum=momentum, weight_decay=0.0)
    cosine = dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True, begin=0, end=epochs)
    return dict(type='OptimWrapper', optimizer=optimizer), [cosine], dict(by_epoch=True, max_epochs=epochs)


def lars_cosine(
    epochs: int, warmup_epochs: float, base_lr: float, batch_size: int, lr_unit: int = 256, accumulate: int = 1
) -> tuple[dict, list[dict], dict]:
    """A linear probe as MAE's: LARS (trust 0.001, momentum 0.9) without weight decay, half a cosine to 0 per iteration.

    Biases are not adapted: their step is that of SGD. mmpretrain's LARS keeps steps in the momentum where MAE's keeps
    gradients, so as the rate moves a step still carries some of the rates before it. Returns ``optim_wrapper,
    param_scheduler, train_cfg``.
    """
    wrapper, schedulers, train_cfg = adamw_cosine(
        epochs, warmup_epochs, base_lr, batch_size, lr_unit, accumulate=accumulate
    )
    wrapper.update(
        optimizer=dict(
            type='mmpretrain.LARS', lr=wrapper['optimizer']['lr'], momentum=0.9, weight_decay=0.0, eta=0.001
        ),
        paramwise_cfg=dict(custom_keys=dict(bias=dict(lars_exclude=True))),
    )
    return wrapper, schedulers, train_cfg


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
