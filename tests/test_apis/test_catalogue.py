from pathlib import Path

import pytest
import yaml

from mimselfsup.apis import list_models

ROOT = Path(__file__).parents[2]


def test_every_model_of_the_index_is_there_with_its_config():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    names = [
        model['Name'] for file in index['Import'] for model in yaml.safe_load((ROOT / file).read_text())['Models'] or ()
    ]
    entries = list_models()
    assert [entry.name for entry in entries] == names
    assert all(entry.config.is_file() and entry.config.stem == entry.name for entry in entries)


def test_published_numbers_are_those_of_the_metafile():
    (entry,) = list_models('mae_vit-base-p16_8xb512-amp-coslr-300e_in1k')
    assert entry.method == 'MAE' and entry.metadata['Epochs'] == 300 and entry.weights is None
    assert entry.results == (
        ('Image Classification, fine-tuned', 'ImageNet-1k', 'Top 1 Accuracy', 83.1),
        ('Image Classification, linear probe', 'ImageNet-1k', 'Top 1 Accuracy', 60.8),
    )
    assert 'fine-tuned, ImageNet-1k: Top 1 Accuracy 83.1; ' in str(entry)


def test_a_pattern_selects_and_a_wrong_one_says_what_there_is():
    chosen = list_models('simmim_*')
    assert chosen and all(entry.name.startswith('simmim_') for entry in chosen)
    with pytest.raises(ValueError, match=r"no model is called 'moco\*'; there are \d+, of .*MAE"):
        list_models('moco*')
