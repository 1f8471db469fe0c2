"""Options that several protocols have: each with its own type and default, each given to its owners alone."""

import argparse

import pytest

from mimselfsup.apis.protocol import Protocol
from mimselfsup.apis.protocol_options import ProtocolOptions
from mimselfsup.apis.protocols import PROTOCOLS


def warm(group):
    group.add_argument('--temperature', type=float, default=0.07)
    group.add_argument('--ks', nargs='+', type=int, default=(1,))


def cold(group):
    group.add_argument('-t', '--temperature', type=int, default=-3, help='below zero')
    group.add_argument('--size', dest='side', choices=('small', 'large'))
    group.add_argument('--deep', action='store_true')


@pytest.fixture
def options():
    protocols = [
        Protocol('warm', 'is warm', print, print, warm, layout='a/*'),
        Protocol('cold', 'is cold', print, print, cold),
    ]
    return ProtocolOptions({protocol.name: protocol for protocol in protocols})


def read(options, words, names=('warm', 'cold')):
    found = {}
    for name in names:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument('words', nargs='*')
        options.add_to(parser, name)
        found[name] = options.read(parser.parse_intermixed_args(words), name)
    return found


def test_each_has_its_own_defaults(options):
    assert read(options, []) == dict(
        warm=dict(temperature=0.07, ks=(1,)), cold=dict(temperature=-3, side=None, deep=False)
    )


def test_a_shared_option_goes_to_all_in_the_type_of_each(options):
    found = read(options, ['x', '--temperature', '5', '--ks', '2', '3'])
    assert found['warm'] == dict(temperature=5.0, ks=[2, 3]) and found['cold']['temperature'] == 5
    assert isinstance(found['warm']['temperature'], float) and isinstance(found['cold']['temperature'], int)


def test_the_longer_name_goes_to_one(options):
    found = read(options, ['--temperature', '5', '--cold.temperature', '7', '--cold.deep', '--warm.ks', '4'])
    assert found['warm'] == dict(temperature=5.0, ks=[4])
    assert found['cold'] == dict(temperature=7, side=None, deep=True)
    assert read(options, ['--warm.temperature=0.5'])['cold']['temperature'] == -3


def test_options_of_others_are_refused(options):
    for words in (['--ks', '1'], ['--ks=1'], ['--warm.temperature', '1']):
        with pytest.raises(ValueError, match=f'{words[0].split("=")[0]}: an option of warm; asked for: cold'):
            options.refuse_others(words, ['cold'])
    options.refuse_others(['--ks', '1', '--temperature', '2', '--elsewhere'], ['warm'])
    options.refuse_others(['--temperature', '2'], ['cold'])


def test_help_has_a_group_for_each_and_says_what_is_shared(options):
    parser = argparse.ArgumentParser()
    options.add_to(parser)
    text = ' '.join(parser.format_help().split())
    assert 'warm: is warm; ROOT holds a/*' in text and 'cold: is cold. Also --temperature as warm' in text
    assert '--cold.deep' not in text and '--temperature TEMPERATURE' in text and '--size {small,large}' in text


def test_all_protocols_on_one_command_line():
    found = read(ProtocolOptions(PROTOCOLS), ['--pixel-size', '8', '--masked.feature', 'cls'], PROTOCOLS)
    assert found['knn']['pixel_size'] == found['clustering']['pixel_size'] == 8
    assert found['knn']['features'] is None and found['masked']['features'] == ['cls']
    assert found['knn']['temperature'] == 0.07 and found['video-segmentation']['temperature'] == 0.1
