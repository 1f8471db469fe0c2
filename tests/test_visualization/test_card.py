"""The page of a card: all numbers of the card and nothing from outside."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mimselfsup.visualization.card import card_page, number_of, owner_of, picture_uri, thumbnail_uri

CHROMIUM = next(
    (found for name in ('chromium', 'chromium-browser', 'google-chrome') if (found := shutil.which(name))), None
)
NASTY = '<script>alert("x")</script> & co'


@pytest.fixture
def card(tmp_path):
    for number, name in enumerate(('query', 'near')):
        Image.fromarray(np.full((40, 60, 3), 60 * number + 40, np.uint8)).save(tmp_path / f'{name}.png')
    rows = [
        ['mae', 'cls', '10.0', '20.5', '30.0', '40.0', '50.0 (20)', '0.1'],
        ['mae', 'avg', '11.0', '21.5', '31.0', '41.0', '51.0 (20)', '0.2'],
        [NASTY, 'cls', '12.0', '22.5', '32.0', '42.0', '52.0 (20)', '0.3'],
        ['random init (2 seeds)', 'cls', '1.0 +- 0.5', '2.0 +- 0.5', '3.0 +- 0.5', '4.0 +- 0.5', '5.0 (20)', ''],
        ['raw pixels', '48 values', '5.0', '6.0', '7.0', '8.0', '9.0 (20)', ''],
    ]
    header = ['', 'feature', 'k-NN 10', 'k-NN 20', 'k-NN 100', 'k-NN 200', 'top-5 (k)', 'lr']
    others = [['mae', '61.0', '-3.0'], [NASTY, '62.0', '4.0'], ['random init of mae', '7.0', '1.0']]

    def entry(table, **more):
        return dict(
            dict(
                summary='what it measures',
                reading='how to read it',
                options=dict(ks=[10], labels=None),
                root='/data',
                layout='',
                tables=[table],
                chance=12.5,
                failed={},
                owners={},
            ),
            **more,
        )

    found = [
        dict(path=str(tmp_path / 'near.png'), label='big_cat', cosine=0.5, correct=correct) for correct in (True, False)
    ]
    return dict(
        title=NASTY,
        made='2026-01-02T03:04+00:00',
        models=[
            dict(
                name=name,
                config='a.py',
                checkpoint='a.pth',
                sha256='0123456789abcdef0000',
                method='MaskedImageModeling',
                backbone='MaskedViT',
                parameters=1234567,
                image_size=[48, 48],
            )
            for name in ('mae', NASTY)
        ],
        protocols=dict(
            knn=entry(dict(title='k-NN', header=header, rows=rows, notes=['chance 12.5 % +- 0'])),
            attention=entry(
                dict(title='objects', header=['', 'best head', 'gap'], rows=others, notes=[]),
                chance=None,
                failed={NASTY: 'has no attention'},
            ),
        ),
        summary=[
            dict(
                protocol='knn', column='k-NN 20', values={'mae': '21.5', NASTY: '22.5', 'raw pixels': '6.0'}, owners={}
            ),
            dict(
                protocol='attention',
                column='best head',
                values={'mae': '61.0', 'random init of mae': '7.0 +- 1.0'},
                owners={'random init of mae': ['mae']},
            ),
        ],
        neighbours=dict(
            queries=[dict(path=str(tmp_path / 'query.png'), label='big_cat')],
            gallery=dict(shown=5000, of=6000),
            models={name: dict(feature='cls', rows=[found]) for name in ('mae', NASTY)},
        ),
        seeds=[0, 1],
        versions=dict(mimselfsup='0.1', torch='2'),
    )


@pytest.fixture
def page(card):
    maps = [picture_uri(np.zeros((4, 4, 3)))]
    return card_page(card, dict(inputs=maps, models={'mae': maps}))


class Read(HTMLParser):
    """Elements with their attributes, the text of each, and the tables as rows of text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')
        if tag not in ('meta', 'link', 'img', 'br', 'wbr', 'i', 'line', 'circle', 'polyline', 'polygon'):
            self.open.append(tag)

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        if tag != 'i':
            assert self.open.pop() == tag, tag  # nothing left open, nothing closed twice

    def handle_data(self, text):
        if self.open and self.open[-1] in ('td', 'th', 'a', 'small') and self.tables and 'table' in self.open:
            self.tables[-1][-1][-1] += text.strip()


def test_the_numbers_of_the_page_are_those_of_the_card(card, page):
    read = Read(page)
    assert read.open == []
    for entry in card['protocols'].values():
        (table,) = entry['tables']
        shown = next(rows for rows in read.tables if rows[0][1:] == table['header'][1:])
        assert [[cell.replace('±', '+-') for cell in row] for row in shown[1:]] == table['rows']
    glance = read.tables[0]
    assert glance == [
        ['protocol', 'number', 'mae', NASTY, 'raw pixels'],
        ['knn', 'k-NN 20', '21.5', '22.5', '6.0'],
        ['attention', 'best head', '61.0random init 7.0 ± 1.0', '-', '-'],
    ]
    best = re.findall(r'<td class="best">\s*([\d.]+)', page)
    assert best == ['22.5', '61.0']


def test_names_cannot_become_markup(page):
    read = Read(page)
    assert not [tag for tag, _ in read.elements if tag == 'script']
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith('on')]
    assert '&lt;script&gt;' in page


def test_the_page_needs_nothing_but_itself(page):
    read = Read(page)
    for tag, attributes in read.elements:
        for name in ('src', 'href', 'srcset', 'data', 'action', 'poster', 'xlink:href'):
            if name in attributes:
                assert attributes[name].startswith(('data:', '#')), (tag, attributes)
    assert 'url(' not in page and '@import' not in page and 'http' not in page.split('<style>')[1]
    ids = [attributes['id'] for _, attributes in read.elements if 'id' in attributes]
    targets = {attributes['href'][1:] for tag, attributes in read.elements if tag == 'a'}
    assert targets == set(ids) and len(ids) == len(set(ids))


def test_every_picture_and_chart_says_what_it_is(page):
    read = Read(page)
    pictures = [attributes for tag, attributes in read.elements if tag == 'img']
    assert len(pictures) == 1 + 2 * 2 + 2 and all(picture.get('alt') and picture.get('title') for picture in pictures)
    assert sum(picture['alt'] == 'big_cat, correct' for picture in pictures) == 2
    assert sum(picture['alt'] == 'big_cat, wrong' for picture in pictures) == 2
    charts = [attributes for tag, attributes in read.elements if tag == 'svg' or attributes.get('class') == 'bars']
    assert all(chart['role'] == 'img' and chart['aria-label'] for chart in charts)
    said = [chart['aria-label'] for chart in charts]
    # A panel of curves for each kind of row, with the baselines; what only some rows have (lr) is no score.
    assert said[0].startswith('k-NN, cls. mae 10: 10, 20: 20.5, 100: 30, 200: 40; ') and 'raw pixels 10: 5' in said[0]
    assert said[1].startswith('k-NN, avg. mae 10: 11') and NASTY not in said[1] and 'raw pixels 10: 5' in said[1]
    assert 'random init' in said[0] and 'random init' not in said[1]
    assert [text.split(':')[0] for text in said[2:]] == ['best head', 'gap']
    assert said[3] == f'gap: mae -3.0; {NASTY} 4.0; random init of mae 1.0'


def test_what_was_not_measured_is_told(page):
    assert (
        f'<b>{NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(chr(34), "&#34;")}</b>'
        in page
    )
    assert 'was not measured: has no attention' in page
    assert '2 of 4' not in page and page.count('1 of 2') == 2  # neighbours of the class of their query
    assert 'ks=[10]' in page and 'labels' not in page  # settings that are none are not shown


def test_a_card_without_pictures_or_baselines(card):
    card['neighbours'] = {}
    card['seeds'] = []
    page = card_page(card, {})
    assert 'Nearest neighbours' not in page and 'Attention pictures' not in page and '<img' not in page
    assert 'Random init is' not in page


def test_cells_and_owners():
    assert number_of('12.5 +- 0.5') == (12.5, 0.5) and number_of('-3') == (-3.0, None)
    assert number_of('41.0 (20)') == (None, None) and number_of('') == (None, None) and number_of('cls') == (None, None)
    names = ['mae', 'mae (long)']
    assert owner_of('mae', names) == 'mae' and owner_of('mae (3 seeds)', names) == 'mae'
    assert owner_of('mae (long) (3 seeds)', names) == 'mae (long)'
    assert owner_of('random init (3 seeds)', names) == 'random init' and owner_of('maelstrom', names) == 'maelstrom'


def test_thumbnails_are_the_middle_square(tmp_path):
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 100:200] = 255
    Image.fromarray(picture).save(tmp_path / 'a.png')
    assert thumbnail_uri(str(tmp_path / 'a.png')) == picture_uri(np.ones((96, 96, 3)))
    Image.fromarray(picture[:20, 140:160]).save(tmp_path / 'small.png')
    assert thumbnail_uri(str(tmp_path / 'small.png')) == picture_uri(np.ones((20, 20, 3)))  # not enlarged
    assert thumbnail_uri(str(tmp_path / 'gone.png')).startswith('data:image/jpeg')


# ---------------------------------------------------------------------------------------------- in a browser


def opened(page, folder):
    """(what the browser made of the page, its messages, the addresses it asked for beside the page and its own)."""
    (folder / 'page.html').write_text(page)
    done = subprocess.run(
        [
            *(CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'),
            *(
                '--disable-background-networking',
                '--disable-component-update',
                '--disable-sync',
                '--disable-extensions',
            ),
            '--host-resolver-rules=MAP * ~NOTFOUND',  # no network
            *(
                '--enable-logging=stderr',
                f'--user-data-dir={folder / "profile"}',
                f'--log-net-log={folder / "net.json"}',
            ),
            *('--window-size=1200,4000', f'--screenshot={folder / "page.png"}', (folder / 'page.html').as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    messages = [line for line in done.stderr.splitlines() if ':CONSOLE' in line]
    asked = set(re.findall(r'"url":"((?:https?|wss?|ftp)://[^/"]+)', (folder / 'net.json').read_text()))
    own = re.compile(r'https?://(?:[\w-]+\.)*(?:google|googleapis|gvt1|gstatic)\.com')
    return messages, {each for each in asked if not own.fullmatch(each)}


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium')
def test_a_browser_without_network_shows_the_page_and_asks_for_nothing(page, tmp_path):
    messages, asked = opened(page, tmp_path)
    assert messages == [] and asked == set()
    picture = np.asarray(Image.open(tmp_path / 'page.png').convert('L'))
    assert picture.shape == (4000, 1200) and (picture < 128).mean() > 0.005  # something is there
    assert (picture[:, -20:] > 250).all()  # nothing runs over the right edge


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium')
def test_the_browser_would_tell(tmp_path):
    messages, asked = opened('<img src="http://example.invalid/a.png"><script>nowhere()</script>', tmp_path)
    assert asked == {'http://example.invalid'} and any('nowhere is not defined' in line for line in messages)
