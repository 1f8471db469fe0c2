import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mimselfsup.evaluation.linear import fit_logistic, hold_out, linear_probe, logistic_regression


def blobs(count, width=6, classes=4, noise=1.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    labels = torch.arange(count) % classes
    scale = torch.logspace(-2, 2, width, dtype=torch.float64)  # features of very different size
    features = centres[labels] + noise * torch.randn(count, width, generator=generator, dtype=torch.float64)
    return features * scale + 3, labels


@pytest.mark.parametrize('penalty', [1e-1, 1e-3])
def test_fit_equals_scikit_learn(penalty):
    features, labels = blobs(203)
    standardised = StandardScaler().fit_transform(features.numpy())
    theirs = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-10, max_iter=5000)
    theirs.fit(standardised, labels.numpy())
    ours = fit_logistic(features, labels, 4, penalty, max_iter=500)
    expected = theirs.predict_proba(standardised)
    np.testing.assert_allclose(ours.logits(features).softmax(1).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(ours.weight.numpy(), theirs.coef_, atol=1e-3)


def test_chunks_do_not_change_the_fit():
    features, labels = blobs(101)
    whole = fit_logistic(features, labels, 4, 1e-2)
    parts = fit_logistic(features, labels, 4, 1e-2, chunk=7)
    torch.testing.assert_close(parts.weight, whole.weight, rtol=0, atol=1e-5)


def test_without_bias_and_standardisation_it_is_scikit_learns_too():
    features, labels = blobs(203)
    features = features / features.norm(dim=1, keepdim=True) * 6**0.5
    theirs = LogisticRegression(C=1 / (1e-3 * len(labels)), tol=1e-10, max_iter=5000, fit_intercept=False)
    theirs.fit(features.numpy(), labels.numpy())
    ours = fit_logistic(features, labels, 4, 1e-3, max_iter=500, standardise=False, with_bias=False)
    np.testing.assert_allclose(ours.weight.numpy(), theirs.coef_, atol=1e-3)
    assert ours.bias.abs().max() == 0


def test_logistic_regression_has_scikit_learns_lambda_on_features_of_length_one():
    """The features tell classes apart by their direction, so few that lambda matters."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(7, 12, generator=generator, dtype=torch.float64)
    labels = torch.arange(364) % 7
    features = centres[labels] + 1.3 * torch.randn(364, 12, generator=generator, dtype=torch.float64)
    features *= torch.logspace(-1, 1, 364, dtype=torch.float64)[:, None]  # lengths say nothing
    found = logistic_regression(features[:64], labels[:64], features[64:], labels[64:], (10.0, 0.1, 0.001))
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    assert list(found) == [0.001, 0.1, 10.0]
    for value, accuracy in found.items():
        theirs = LogisticRegression(C=1 / value, tol=1e-10, max_iter=10000, fit_intercept=False)
        theirs.fit(unit[:64], labels[:64].numpy())
        expected = 100 * theirs.score(unit[64:], labels[64:].numpy())
        assert accuracy['top1'] == pytest.approx(expected, abs=0.4)  # an image of 300
    assert len({round(accuracy['top1'], 3) for accuracy in found.values()}) == 3


def test_a_strong_penalty_leaves_the_class_frequencies():
    """Closed form: with weight 0 the bias alone reproduces how often each class occurs."""
    features, _ = blobs(100)
    labels = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    classifier = fit_logistic(features, labels, 3, penalty=1e6)
    expected = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).expand(100, 3)
    torch.testing.assert_close(classifier.logits(features).softmax(1), expected, rtol=0, atol=1e-4)


def test_separable_classes_are_classified_without_error_and_constant_features_do_no_harm():
    features, labels = blobs(200, noise=0.02)
    constant = torch.full((200, 2), 5.0, dtype=torch.float64)
    features = torch.cat([features, constant], dim=1).float()
    probe = linear_probe(features[:120], labels[:120], features[120:], labels[120:])
    assert (probe.top1, probe.top5) == (100.0, 100.0)


def test_penalty_is_the_best_on_held_out_training_images_and_never_sees_the_evaluated_labels():
    features, labels = blobs(240, noise=3.0)
    wrong = (labels[160:] + 1) % 4
    arguments = (features[:160], labels[:160], features[160:])
    probe = linear_probe(*arguments, labels[160:])
    assert probe.held_out[probe.penalty] == max(probe.held_out.values())
    assert probe.penalty == max(p for p, top1 in probe.held_out.items() if top1 == max(probe.held_out.values()))
    blind = linear_probe(*arguments, wrong)
    assert (blind.penalty, blind.held_out) == (probe.penalty, probe.held_out)
    refit = fit_logistic(features[:160], labels[:160], 4, probe.penalty)  # on all training images
    predicted = refit.logits(features[160:]).argmax(1)
    assert probe.top1 == pytest.approx(100 * (predicted == labels[160:]).double().mean().item())


def test_probe_is_deterministic():
    features, labels = blobs(120, noise=3.0)
    arguments = (features[:80], labels[:80], features[80:], labels[80:])
    assert linear_probe(*arguments) == linear_probe(*arguments)


def test_hold_out_takes_the_share_of_each_class_and_never_all_of_one():
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 2 + [3])
    aside = hold_out(labels, 0.1, seed=0)
    assert [int(aside[labels == label].sum()) for label in range(4)] == [5, 2, 1, 0]
    assert torch.equal(aside, hold_out(labels, 0.1, seed=0))
    assert not torch.equal(aside, hold_out(labels, 0.1, seed=1))


def test_errors_name_what_is_wrong():
    features, labels = blobs(40)
    with pytest.raises(ValueError, match=r'held_out=1\.0.*share'):
        hold_out(labels, 1.0, seed=0)
    with pytest.raises(ValueError, match='penalties'):
        linear_probe(features, labels, features, labels, penalties=())
    with pytest.raises(ValueError, match='lambdas'):
        logistic_regression(features, labels, features, labels, lambdas=(-1.0,))
