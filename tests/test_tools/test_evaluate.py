"""tools/evaluate.py and tools/visualize.py as a user types them, in this process."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from mimselfsup.apis import load_model
from tests.test_evaluation.labelled import write_labelled, write_labelled_config

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp('project')
    write_labelled(folder / 'data')
    config = write_labelled_config(folder / 'tiny.py', folder / 'data')
    torch.save(dict(state_dict=load_model(config, seed=0).state_dict()), folder / 'epoch_3.pth')
    return folder


@pytest.fixture
def call(project, capsys, monkeypatch):
    """(exit status, stdout, stderr) of a tool; config and checkpoint of the project are filled in for C and W."""
    monkeypatch.chdir(project)
    monkeypatch.delenv('MIMSELFSUP_DEBUG', raising=False)

    def run(tool, *words):
        names = dict(C='tiny.py', W='epoch_3.pth')
        monkeypatch.setattr(sys, 'argv', [tool, *(names.get(word, word) for word in words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def test_both_protocols_in_one_table_and_numbers_beside_the_checkpoint(call, project):
    code, out, _ = call(
        'evaluate.py', 'knn,linear', 'C', 'W', '--ks', '1', '200', '--seeds', '0', '1', '--workers', '0'
    )
    assert code == 0
    report = json.loads((project / 'epoch_3.knn-linear.json').read_text())
    header = next(line for line in out.splitlines() if 'feature' in line)
    assert header.split('  ')[0] == '' and 'k-NN 1 ' in header and 'k-NN 18' in header and 'linear' in header
    assert '(2 seeds)' in out and 'chance 33.3 %' in out
    pixels = next(line for line in out.splitlines() if line.startswith('raw pixels')).split()
    assert pixels[-1] == '100.0'  # linear, on colours
    rows = {(row['model'], row['feature']): row for row in report['rows']}
    assert rows['raw pixels', '768 values']['linear']['top1'] == 100
    assert list(rows['pre-trained', 'cls']['knn']) == ['1', '18']  # 200 neighbours, but only 18 images
    assert any((project / 'features').iterdir())


def test_options_reach_the_evaluation(call, project, tmp_path):
    words = [
        '--feature',
        'avg',
        '--no-baselines',
        '--out',
        str(tmp_path / 'a.json'),
        '--cache',
        str(tmp_path / 'c'),
    ]
    code, _, _ = call('evaluate.py', 'knn', 'C', 'W', *words, '--temperature', '0.5', '--workers', '0')
    report = json.loads((tmp_path / 'a.json').read_text())
    assert code == 0 and report['settings']['temperature'] == 0.5
    assert [(row['model'], row['feature']) for row in report['rows']] == [('pre-trained', 'avg')]
    assert any((tmp_path / 'c').iterdir())


def test_other_protocols_stand_under_their_names(call, project, tmp_path):
    out = tmp_path / 'a.json'
    words = [
        'knn,attention-distance',
        '--no-baselines',
        '--workers',
        '0',
        '--num-images',
        '2',
        'C',
        'W',
        '--out',
        str(out),
    ]
    code, said, _ = call('evaluate.py', *words, '--feature', 'avg')  # options may stand before or behind
    report = json.loads(out.read_text())
    assert code == 0 and report['attention-distance']['settings']['num_images'] == 2
    assert [row['feature'] for row in report['rows']] == ['avg']
    distance = report['attention-distance']['rows'][0]['blocks']['2']['mean']
    assert f'{distance:.1f}' in said and 'k-NN of frozen features' in said


def test_all_makes_a_card_and_goes_on_where_it_was(call, project, tmp_path):
    out = tmp_path / 'card'
    shutil.copy(project / 'epoch_3.pth', project / 'other.pth')
    several = ['--model', 'A & B', 'C', 'W', '--model', 'same', 'tiny.py', 'other.pth']
    words = ['all', *several, '--protocols', 'knn,attention', '--ks', '1', '3', '--out', str(out), '--workers', '0']
    words += ['--pictures', '2', '--seeds', '0', '1', '--cache', str(tmp_path / 'features')]
    code, said, error = call('evaluate.py', *words)
    card = json.loads((out / 'card.json').read_text())
    # The folder has no masks of objects: that is told, in the card and by the exit status, and the rest is done.
    assert code == 1 and 'not measured' in error and 'attention of A & B, attention of same' in error
    assert list(card['protocols']['attention']['failed']) == ['A & B', 'same']
    (table,) = card['protocols']['knn']['tables']
    page = (out / 'card.html').read_text()
    for row in table['rows']:
        for cell in row[1:]:
            assert f'>{cell.replace("+-", "±")}</td>' in page
    assert 'A &amp; B' in page and 'A & B' not in page
    assert [row[0] for row in table['rows']] == [
        *('A & B', 'A & B', 'same', 'same', 'random init (2 seeds)', 'random init (2 seeds)', 'raw pixels')
    ]
    by_name = {name: report['rows'] for name, report in card['protocols']['knn']['reports'].items()}
    assert by_name['A & B'] == by_name['same'] and '[1/2] knn, same: measured before' in said  # one content

    code, said, _ = call('evaluate.py', *words[:-2], '--no-baselines', '--title', 'T', '--knn.ks', '1')
    again = json.loads((out / 'card.json').read_text())
    assert again['title'] == 'T' and again['protocols']['knn']['options']['ks'] == [1]
    code, said, _ = call('evaluate.py', *words)
    assert 'before' in said and not re.search(r': [\d.]+ s$', said, re.M)  # all of it was there
    assert json.loads((out / 'card.json').read_text())['protocols'] == card['protocols']


def test_all_of_one_checkpoint_takes_what_has_data(call, project):
    code, _, error = call(
        'evaluate.py', 'all', 'C', 'W', '--no-baselines', '--workers', '0', '--pictures', '0', '--seeds', '0',
        '--lrs', '0.1', '--epochs', '2', '--ratios', '0', '0.5', '--shots', '1',
    )  # fmt: skip
    card = json.loads((project / 'card/card.json').read_text())
    assert code == 0, error
    assert [model['name'] for model in card['models']] == ['epoch_3']
    assert {'knn', 'fewshot', 'linear', 'logreg', 'linear-scan', 'clustering', 'masked', 'attention-distance'} == set(
        card['protocols']
    )
    assert all(entry['tables'] and entry['reading'] for entry in card['protocols'].values())


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (('evaluate.py', 'knnn', 'C', 'W'), "protocol 'knnn': must be one of knn, fewshot, linear"),
        (('evaluate.py', ',', 'C', 'W'), 'no protocol'),
        (('evaluate.py', 'knn', 'C'), 'knn: CONFIG CKPT must follow'),
        (('evaluate.py', 'knn', 'C', 'W', '--mass', '0.5'), '--mass: an option of attention; asked for: knn'),
        (('evaluate.py', 'knn', 'C', 'W', '--linear.feature', 'avg'), '--linear.feature: an option of linear; asked'),
        (('evaluate.py', 'knn', 'C', 'W', '--protocols', 'knn'), '--protocols: is for a model card; ask for all'),
        (('evaluate.py', 'knn', 'C', 'W', '--data-for', 'linear=x'), '--data-for linear=x: linear is not asked for'),
        (('evaluate.py', 'knn,linear', 'C', 'W', '--data-for', 'linear=x'), 'must read the same folder'),
        (('evaluate.py', 'all'), 'all: give CONFIG CKPT, or --model NAME CONFIG CKPT'),
        (('evaluate.py', 'all', 'C'), 'all tiny.py: CKPT must follow'),
        (('evaluate.py', 'all', 'C', 'W', '--protocols', 'knn', '--mass', '0.5'), '--mass: an option of attention'),
        (('evaluate.py', 'all', 'C', 'W', '--data', 'nowhere'), 'nowhere: has the data of no protocol'),
        (('evaluate.py', 'knn', 'nowhere.py', 'W'), 'config nowhere.py does not exist'),
        (('evaluate.py', 'knn', 'C', 'nowhere.pth'), 'checkpoint nowhere.pth: no such file'),
        (('evaluate.py', 'knn', 'C', 'tiny.py'), 'checkpoint tiny.py'),
        (('evaluate.py', 'knn', 'C', 'W', '--data', 'data/train'), 'data/train has no folder train/'),
        (('evaluate.py', 'knn', 'C', 'W', '--device', 'abacus'), 'device abacus'),
        (('evaluate.py', 'knn', 'C', 'W', '--cfg-options', 'model.backbone.arch.num_layers=1'), 'no place for'),
        (('visualize.py', 'masks', 'C', '--out', 'a.gif'), '--out a.gif'),
        (('visualize.py', 'masks', 'C', '--strategies', 'import os'), '--strategies import os'),
        (
            ('visualize.py', 'masks', 'C', '--strategies', 'dict(type=print(1))'),
            '--strategies dict(type=print(1))',
        ),
        (('visualize.py', 'masks', 'C', '--images', 'nowhere.png'), 'nowhere.png'),
        (('visualize.py', 'masks', 'C', '--images', 'tiny.py'), 'tiny.py'),
        (('visualize.py', 'masks', 'C', '--num', '0'), '--num 0'),
        (('visualize.py', 'attention', 'C', 'W', '--queries', '0,0', '4,1'), '--queries 4,1: no such patch'),
        (('visualize.py', 'distance', 'W', 'C'), 'epoch_3.pth: a config (.py) must stand before'),
        (('visualize.py', 'distance', 'C', 'nowhere.pth', '--num', '1'), 'checkpoint nowhere.pth'),
        (('visualize.py', 'curves', 'data'), 'data: no */vis_data/scalars.json'),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_status_2(call, words, message):
    code, _, error = call(*words)
    lines = [line for line in error.splitlines() if line.startswith('error: ')]
    assert code == 2 and len(lines) == 1 and message in lines[0]
    assert 'Traceback' not in error


@pytest.mark.parametrize('kind', ['masks', 'reconstruction', 'attention', 'proxies'])
def test_pictures_are_written_and_repeat_for_a_seed(call, tmp_path, kind):
    pictures = []
    for name, seed in (('a', '1'), ('b', '1'), ('c', '2')):
        out = tmp_path / f'{name}.png'
        code, said, _ = call('visualize.py', kind, 'C', 'W', '--num', '3', '--seed', seed, '--out', str(out))
        assert code == 0 and str(out) in said
        pictures.append(imread(out))
    assert pictures[0].shape == pictures[1].shape and (pictures[0] == pictures[1]).all()
    assert pictures[0].shape != pictures[2].shape or (pictures[0] != pictures[2]).any()


def test_strategies_come_from_configs_and_literals(call, tmp_path, monkeypatch):
    out = tmp_path / 'a.svg'
    words = ['C', "dict(type='GridMasking')", "{'type': 'BlockMasking', 'mask_ratio': (0.2, 0.4), 'min_block': 2}"]
    drawn = ('--data', 'data', 'data', '--num', '2')
    code, _, _ = call('visualize.py', 'masks', 'C', *drawn, '--out', str(out), '--strategies', *words)
    assert code == 0
    text = out.read_text()
    for title in ('Random', 'mask 50%', 'Grid', 'Block', 'mask 20-40%'):
        assert f'<!-- {title}' in text
    assert text.count('<image') == 4 * 4  # two pictures of each folder; the picture and three strategies


def test_queries_and_distances_come_with_their_names(call, tmp_path):
    words = ('--num', '2', '--out', str(tmp_path / 'a.svg'))
    code, _, _ = call('visualize.py', 'attention', 'C', 'W', '--queries', '0,3', '2,1', *words)
    text = (tmp_path / 'a.svg').read_text()
    assert code == 0 and text.count('<image') == 2 * 4
    assert '<!-- [CLS]' in text and '<!-- patch 0,3' in text and '<!-- patch 2,1' in text
    code, _, _ = call('visualize.py', 'distance', 'C', 'W', 'W', 'C', 'W', *words, '--labels', 'one', 'two', 'three')
    text = (tmp_path / 'a.svg').read_text()
    assert code == 0 and all(f'<!-- {name} -->' in text for name in ('one', 'two', 'three', 'even attention'))


def test_curves_of_a_work_dir(call, tmp_path):
    folder = tmp_path / 'run/20260101_000000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(json.dumps(dict(loss=1 / i, lr=0.1, step=i)) for i in range(1, 9)))
    code, _, _ = call('visualize.py', 'curves', str(tmp_path / 'run'), '--out', str(tmp_path / 'c.svg'))
    text = (tmp_path / 'c.svg').read_text()
    assert code == 0 and '<!-- loss' in text and '<!-- learning rate' in text and 'k-NN' not in text
