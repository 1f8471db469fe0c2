from types import SimpleNamespace

import pytest
from torch import nn

from mimselfsup.engine.hooks import ClassCheckHook


def runner(train, val, num_classes: int = 3):
    model = nn.Module()
    model.head = SimpleNamespace(num_classes=num_classes)

    def loader(classes):
        metainfo = {} if classes is None else dict(classes=classes)
        return SimpleNamespace(dataset=SimpleNamespace(metainfo=metainfo))

    return SimpleNamespace(
        model=model,
        train_dataloader=loader(train),
        val_dataloader=loader(val),
        test_dataloader=loader(val),
        val_loop=object(),
    )


def test_equal_classes_pass_and_unnamed_ones_are_not_looked_into():
    for train in (('a', 'b', 'c'), None):
        ClassCheckHook().before_train(runner(train, ['a', 'b', 'c']))
    other = runner(None, ['a', 'b', 'c'])
    del other.model.head
    ClassCheckHook().before_test(other)


@pytest.mark.parametrize(
    ('train', 'val', 'message'),
    [
        (('a', 'b'), ('a', 'b'), r'train_dataloader has 2 classes and model\.head\.num_classes=3.*num_classes=2'),
        (('a', 'b', 'c'), ('a', 'c'), r'val_dataloader has 2 classes and model\.head'),
        (('a', 'b', 'c'), ('a', 'c', 'd'), r'not the same: b, d are in one of them alone'),
        (('a', 'b', 'c'), ('a', 'c', 'b'), r'not the same: their order'),
    ],
)
def test_a_shifted_numbering_is_an_error(train, val, message):
    with pytest.raises(ValueError, match=message):
        ClassCheckHook().before_train(runner(train, val))


@pytest.mark.parametrize('stage', ['before_val', 'before_test'])
def test_without_a_training_too(stage):
    with pytest.raises(ValueError, match='_dataloader has 2 classes'):
        getattr(ClassCheckHook(), stage)(runner(None, ('a', 'b')))
