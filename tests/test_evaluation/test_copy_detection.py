import pytest
import torch
from mmpretrain.models.necks import GeneralizedMeanPooling

from mimselfsup.evaluation.copy_detection import Whitening, cls_and_gem, copy_map
from mimselfsup.models.backbones.tokens import Tokens


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(400, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 3


def test_cls_beside_the_generalised_mean():
    torch.manual_seed(0)
    extra, patches = torch.randn(2, 1, 5), torch.randn(2, 12, 5)
    found = cls_and_gem(Tokens(extra, patches, (3, 4)))
    maps = patches.transpose(1, 2).unflatten(2, (3, 4))
    expected = GeneralizedMeanPooling(p=4, p_trainable=False)(maps)
    torch.testing.assert_close(found, torch.cat([extra[:, 0], expected], 1))
    assert torch.equal(cls_and_gem(Tokens(extra[:, :0], patches, (3, 4))), found[:, 5:])
    two = cls_and_gem(Tokens(torch.cat([extra, -extra + 2], 1), patches, (3, 4)))
    torch.testing.assert_close(two[:, :5], torch.ones(2, 5))


def test_whitening(features):
    centred = Whitening.fit(features, centred=True)(features)
    torch.testing.assert_close(centred.T @ centred / 400, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(centred.mean(0), torch.zeros(6, dtype=torch.float64))
    # As published: second moments about zero are what becomes the identity, though the mean is taken off afterwards.
    whiten = Whitening.fit(features)
    uncentred = features @ whiten.projection.T
    torch.testing.assert_close(uncentred.T @ uncentred / 400, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(whiten(features), uncentred - uncentred.mean(0))


def test_exponent_and_floor_of_the_variances(features):
    turned = Whitening.fit(features, exponent=0)(features)
    torch.testing.assert_close(turned.norm(dim=1), (features - features.mean(0)).norm(dim=1))
    flat = features.clone()
    flat[:, 0] = 0
    whiten = Whitening.fit(flat, centred=True)
    largest = torch.linalg.eigvalsh(torch.cov(flat.T, correction=0)).max()
    torch.testing.assert_close(whiten.projection.norm(dim=1).max(), (1e-5 * largest) ** -0.5)


def test_map_by_hand():
    database = torch.eye(4)
    queries = torch.tensor([[4.0, 1, 0, 0], [3, 4, 0, 0], [4, 3, 2, 1]])
    # Ranks 0, 1 and 2: 1, (0 + 1/2) / 2 and (0 + 1/3) / 2.
    assert copy_map(queries, database, [0, 0, 2]) == pytest.approx(100 * (1 + 1 / 4 + 1 / 6) / 3)
    assert copy_map(queries, database, [0, 0, 2], top=2) == pytest.approx(100 * (1 + 1 / 4) / 3)
    assert copy_map(7 * queries, database * torch.tensor([[1.0], [9.0], [2.0], [3.0]]), [0, 0, 2]) == pytest.approx(
        100 * (1 + 1 / 4 + 1 / 6) / 3
    )
