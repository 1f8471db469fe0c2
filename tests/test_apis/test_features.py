import torch

from mimselfsup.apis import extract_features, load_config, load_model
from mimselfsup.evaluation.data import build_eval_datasets, build_eval_loader
from tests.test_evaluation.labelled import write_labelled, write_labelled_config


def test_features_are_the_normalised_views_through_the_encoder(tmp_path):
    root = write_labelled(tmp_path / 'data')
    config = load_config(write_labelled_config(tmp_path / 'tiny.py', root))
    model = load_model(config, seed=0)
    dataset = build_eval_datasets(config, root)[1]
    inputs = torch.stack([dataset[index]['inputs'] for index in range(len(dataset))])
    normalised = (inputs[:, [2, 1, 0]].float() - 127.5) / 64  # BGR to RGB; statistics of the tiny config
    with torch.no_grad():
        tokens = model.backbone.encode(normalised)
    model.train()
    model.decoder.eval()
    for feature, expected in (('cls', tokens.extra[:, 0]), ('avg', tokens.patches.mean(1))):
        found = extract_features(model, build_eval_loader(dataset, 4, 0), feature, progress=False)
        torch.testing.assert_close(found.features, expected)
        assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert not found.features.requires_grad
    assert model.training and model.backbone.training and not model.decoder.training
