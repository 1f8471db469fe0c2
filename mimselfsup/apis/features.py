"""Features of a model over a data set."""

import torch
from mmengine.model import BaseModel
from torch.utils.data import DataLoader

from mimselfsup.evaluation.features import Features, collect_features, encode_features


def extract_features(
    model: BaseModel,
    loader: DataLoader,
    feature: str = 'avg',
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Features:
    """One vector per image of ``loader``: 'cls', the [CLS] token, or 'avg', the mean of the patch tokens.

    Taken after the backbone's final norm, in eval mode and without gradient; the model's mode is restored. Images
    that could not be read are left out. ``device`` moves the model; None leaves it where it is.
    """
    if device is not None:
        model.to(device)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        found = collect_features(loader, lambda batch: encode_features(model, batch, (feature,)), feature, progress)
    finally:
        for module, training in modes.items():
            module.training = training
    return found[feature]
