"""The card of protocols whose numbers are known, and what of it is measured again."""

import json
import os
from dataclasses import replace

import pytest
import torch

from mimselfsup.apis import card as module
from mimselfsup.apis import load_model
from mimselfsup.apis.card import CardModel, make_card
from mimselfsup.apis.card_pictures import choose_queries
from mimselfsup.apis.card_readings import READINGS
from mimselfsup.apis.protocol import Protocol, Table, cell
from mimselfsup.apis.protocols import (
    PROTOCOLS,
    has_data,
    read_roots,
    usual_protocols,
    usual_root,
)
from mimselfsup.evaluation.knn import check_temperature
from tests.test_evaluation.labelled import write_labelled, write_labelled_config


class Counted:
    """A protocol that gives the bias of the final norm times 100, and remembers what it was asked for."""

    def __init__(self):
        self.calls = []
        self.killed_at = None
        self.refused = ()

    def run(self, config, checkpoint, data_root, *, seeds=(), scale=1.0, **settings):
        name = os.path.basename(checkpoint)
        if name == self.killed_at:
            raise KeyboardInterrupt
        if name in self.refused:
            check_temperature(-1.0)
        self.calls.append((name, seeds))
        value = 100 * scale * load_model(config, checkpoint).backbone.ln1.bias[0].item()
        rows = [dict(model='pre-trained', score=value)]
        if seeds:
            width = config.model.backbone.arch['embed_dims']
            rows.append(dict(model='random init', seeds=list(seeds), score=float(width), score_std=0.5))
        rows.append(dict(model='raw pixels', score=3.0))
        return dict(data=dict(chance=10.0), rows=rows)

    def tables(self, report):
        return [Table('Counted', ['', 'score'], [[row['model'], cell(row, 'score')] for row in report['rows']])]


@pytest.fixture
def counted(monkeypatch):
    protocol = Counted()
    known = Protocol(
        'counted', 'known', protocol.run, protocol.tables, layout='train/<class>/*', reads=(('train', 'val'),)
    )
    monkeypatch.setitem(module.PROTOCOLS, 'counted', known)
    monkeypatch.setattr(module, 'code_hash', lambda: 'code')
    return protocol


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp('card')
    write_labelled(folder / 'data')
    write_labelled_config(folder / 'tiny.py', folder / 'data')
    write_labelled_config(folder / 'wide.py', folder / 'data', WIDE)
    return folder


WIDE = "model['backbone']['arch'] = dict(model['backbone']['arch'], embed_dims=32)\n"


def write_checkpoint(project, config, name, bias):
    model = load_model(project / config, seed=0)
    torch.nn.init.constant_(model.backbone.ln1.bias, bias)
    torch.save(dict(state_dict=model.state_dict()), project / name)
    return CardModel(name.removesuffix('.pth'), project / config, project / name)


@pytest.fixture
def models(project):
    return [
        write_checkpoint(project, 'tiny.py', 'a.pth', 0.5),
        write_checkpoint(project, 'tiny.py', 'b.pth', 0.25),
        write_checkpoint(project, 'wide.py', 'c.pth', 0.125),
    ]


@pytest.fixture
def make(project, tmp_path):
    def run(models, scale=1.0, seeds=(0, 1), **settings):
        options, roots = dict(counted=dict(scale=scale)), dict(counted=project / 'data')
        return make_card(models, tmp_path / 'card', options, roots, seeds=seeds, pictures=0, **settings)

    return run


def table_of(card):
    return card['protocols']['counted']['tables'][0]['rows']


def test_baselines_are_measured_once_per_model(counted, make, models):
    card = make(models)
    assert counted.calls == [('a.pth', (0, 1)), ('b.pth', ()), ('c.pth', (0, 1))]
    rows = table_of(card)
    assert rows[:3] == [['a', '50.0'], ['b', '25.0'], ['c', '12.5']]
    width = load_model(models[0].config).backbone.arch_settings['embed_dims']
    assert rows[3:] == [
        ['random init of a, b', f'{width}.0 +- 0.5'],
        ['random init of c', '32.0 +- 0.5'],
        ['raw pixels', '3.0'],
    ]
    summary = card['summary'][0]
    assert summary['column'] == 'score' and summary['values']['b'] == '25.0'
    assert summary['owners'] == {'random init of a, b': ['a', 'b'], 'random init of c': ['c']}


def test_baselines_of_one_model_carry_no_names(counted, make, models):
    assert [row[0] for row in table_of(make(models[:2]))] == ['a', 'b', 'random init', 'raw pixels']


def test_a_killed_run_measures_only_what_is_missing(counted, make, models):
    counted.killed_at = 'b.pth'
    with pytest.raises(KeyboardInterrupt):
        make(models)
    assert counted.calls == [('a.pth', (0, 1))]
    counted.killed_at, counted.calls = None, []
    whole = make(models)
    assert counted.calls == [('b.pth', ()), ('c.pth', (0, 1))]
    counted.calls = []
    assert table_of(make(models)) == table_of(whole) and counted.calls == []


def test_a_changed_checkpoint_of_the_same_name_is_measured_again(counted, make, models, project):
    make(models[:2])
    counted.calls.clear()
    write_checkpoint(project, 'tiny.py', 'a.pth', 0.75)
    card = make(models[:2])
    assert counted.calls == [('a.pth', ())]  # the baselines have not changed
    assert table_of(card)[0] == ['a', '75.0']


def test_what_a_number_depends_on(counted, make, models, project):
    only = models[:1]
    make(only)
    again = dict(
        options=lambda: make(only, scale=2.0),
        seeds=lambda: make(only, seeds=(5,)),
        model=lambda: make(only, cfg_options={'model.backbone.drop_path_rate': 0.2}),
    )
    for what, call in again.items():
        counted.calls.clear()
        call()
        assert counted.calls, what
    counted.calls.clear()
    make(only, batch_size=7, title='other')
    assert counted.calls == []
    picture = next((project / 'data/train/red').iterdir())
    os.utime(picture, ns=(1, 1))
    make(only)
    assert counted.calls == [('a.pth', (0, 1))]


def test_half_a_part_counts_as_none(counted, make, models, tmp_path):
    make(models[:1])
    counted.calls.clear()
    (part,) = [each for each in (tmp_path / 'card/parts').iterdir() if 'baselines' not in each.name]
    part.write_text(part.read_text()[:50])
    make(models[:1])
    assert counted.calls == [('a.pth', ())]
    assert not list((tmp_path / 'card').rglob('.*'))  # no drafts left behind


def test_what_is_refused_is_told_and_the_others_go_on(counted, make, models, tmp_path):
    counted.refused = ('a.pth',)
    card = make(models[:2])
    entry = card['protocols']['counted']
    assert list(entry['failed']) == ['a'] and 'temperature=-1.0' in entry['failed']['a']
    assert table_of(card)[0] == ['b', '25.0'] and counted.calls == [('b.pth', (0, 1))]
    assert entry['failed']['a'] in (tmp_path / 'card/card.html').read_text().replace('&#39;', "'")
    counted.refused = ('a.pth', 'b.pth')
    card = make([replace(model, name=f'{model.name}2') for model in models[:1]])
    assert card['summary'] == [] and card['protocols']['counted']['tables'] == []


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(name='random init'), 'is the name of a baseline'),
        (dict(name='b'), 'two checkpoints of this name'),
        (dict(checkpoint='nowhere.pth'), 'checkpoint nowhere.pth: no such file'),
    ],
)
def test_models_that_cannot_be_shown(counted, make, models, change, message):
    with pytest.raises(ValueError, match=message):
        make([models[1], replace(models[0], **change)])
    assert counted.calls == []


def test_unknown_data_and_too_many_pictures(counted, project, tmp_path, models):
    for root in (None, project / 'nowhere'):
        with pytest.raises(ValueError, match=r'counted: no folder .*; it reads train/<class>'):
            make_card(models, tmp_path, dict(counted={}), dict(counted=root))
    with pytest.raises(ValueError, match='--pictures 25: must be from 0 to 24'):
        make_card(models, tmp_path, dict(counted={}), dict(counted=project / 'data'), pictures=25)


def test_neighbours_and_attention_of_a_checkpoint(project, tmp_path, models):
    out, roots = tmp_path / 'card', dict(knn=project / 'data')
    options = dict(knn=dict(cache=tmp_path / 'features', ks=(3,), progress=False))
    said = []
    settings = dict(seeds=(0,), workers=0, pictures=4, say=said.append)
    card = make_card(models[:1], out, options, roots, **settings)
    found = card['neighbours']
    assert found['gallery'] == dict(shown=18, of=18)
    labels = [query['label'] for query in found['queries']]
    assert len(labels) == 4 and set(labels[:3]) == {'blue', 'green', 'red'}  # of every class one before a second
    assert list(found['models']) == ['a', 'random init', 'raw pixels']
    for of_model in found['models'].values():
        for label, row in zip(labels, of_model['rows'], strict=True):
            assert [each['correct'] for each in row] == [each['label'] == label for each in row]
            cosines = [each['cosine'] for each in row]
            assert len(row) == 5 and cosines == sorted(cosines, reverse=True) and max(cosines) <= 1
    assert all(each['correct'] for row in found['models']['raw pixels']['rows'] for each in row)  # classes are colours
    page = (out / 'card.html').read_text()
    assert page.count('alt="Attention of a on') == 4 and page.count('alt="Attention of random init on') == 4
    said.clear()
    assert make_card(models[:1], out, options, roots, **settings)['neighbours'] == found
    assert all('before' in line for line in said) and len(said) == 4


def test_queries_take_turns_among_classes():
    labels = [0] * 50 + [1] * 3 + [2]
    chosen = [labels[position] for position in choose_queries(labels, 6)]
    assert sorted(chosen[:3]) == [0, 1, 2] and sorted(chosen[3:5]) == [0, 1] and chosen[5] in (0, 1)
    assert choose_queries(labels, 6) == choose_queries(labels, 54)[:6]
    assert sorted(choose_queries(labels, 99)) == list(range(54))


# -------------------------------------------------------------------------------------------- all protocols


def test_every_protocol_says_how_it_is_read():
    assert set(READINGS) == set(PROTOCOLS)
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


def test_protocols_are_found_by_their_folders(tmp_path):
    for folder in ('train/cat', 'val/cat', 'davis', 'elsewhere'):
        (tmp_path / folder).mkdir(parents=True)
    names = usual_protocols(tmp_path)
    assert {'knn', 'linear', 'attention-distance', 'video-segmentation'} <= set(names)
    assert not {'attention', 'retrieval', 'backgrounds'} & set(names)  # no masks, no folders
    (tmp_path / 'masks/val').mkdir(parents=True)
    assert 'attention' in usual_protocols(tmp_path)
    video = PROTOCOLS['video-segmentation']
    assert (
        usual_root(video, tmp_path) == tmp_path / 'davis'
        and usual_root(video, tmp_path / 'davis') == tmp_path / 'davis'
    )
    assert not has_data(video, tmp_path / 'elsewhere')
    (tmp_path / 'roxford5k').mkdir()
    (tmp_path / 'roxford5k/gnd_roxford5k.pkl').touch()
    assert 'retrieval' in usual_protocols(tmp_path)
    own = [f'retrieval={tmp_path}/elsewhere']
    assert 'retrieval' in usual_protocols(tmp_path, own)
    roots = read_roots(tmp_path, own, ['knn', 'retrieval', 'video-segmentation'])
    assert list(map(str, roots.values())) == [str(tmp_path), f'{tmp_path}/elsewhere', f'{tmp_path}/davis']
    for words, message in ((['retrieval'], 'must be PROTOCOL=ROOT'), (['knn=x'], 'knn is not asked for')):
        with pytest.raises(ValueError, match=message):
            read_roots(tmp_path, words, ['retrieval'])
    with pytest.raises(ValueError, match='has the data of no protocol; knn: train/<class>'):
        usual_protocols(tmp_path / 'elsewhere')


def test_a_card_is_plain_json(counted, make, models, tmp_path):
    card = make(models)
    assert json.loads((tmp_path / 'card/card.json').read_text()) == card
