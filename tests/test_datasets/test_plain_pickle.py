"""Pickles as data: what NumPy and plain Python write comes back, and nothing that a file asks for is called."""

import os
import pickle

import numpy as np
import pytest

from mimselfsup.datasets.plain_pickle import read_plain_pickle

CONTENT = dict(
    names=['a', 'ä'],
    nested=[(1, 2.5, None, True), {'x': b'\x00\xff'}],
    integers=np.array([[3, 1, 2], [-4, 0, 5]]),
    columns_first=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    big_endian=np.array([1, 256], dtype='>i4'),
    flags=np.array([True, False]),
    words=np.array(['ab', 'cdef']),
    empty=np.zeros((0,), dtype=np.float32),
    part=np.arange(20)[3:15:4],
    scalar=np.float32(0.5),
    place=np.int64(7),
)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_come_back(tmp_path, protocol):
    (tmp_path / 'x.pkl').write_bytes(pickle.dumps(CONTENT, protocol))
    found = read_plain_pickle(tmp_path / 'x.pkl')
    assert list(found) == list(CONTENT)
    for name, expected in CONTENT.items():
        if isinstance(expected, np.ndarray):
            assert (
                found[name].dtype.newbyteorder('=') == expected.dtype.newbyteorder('=')
                and found[name].shape == expected.shape
            )
            np.testing.assert_array_equal(found[name], expected)
        else:
            assert found[name] == expected


def test_array_of_python_2(tmp_path):
    """Written by hand in the format of protocol 0: raw bytes are a str there, and NumPy's module has its old name."""
    text = (
        "(dS'easy'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        "(I1\n(I2\ntcnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x05\\x00\\xfe\\xff'\ntbs."
    )
    (tmp_path / 'x.pkl').write_bytes(text.encode('ascii'))
    assert read_plain_pickle(tmp_path / 'x.pkl')['easy'].tolist() == [5, -2]


class Calls:
    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ('name', 'call'),
    [
        ('mkdir', Calls(os.mkdir, 'made')),
        ('eval', Calls(eval, '__import__("os").mkdir("made")')),
        ('numpy.save', Calls(np.save, 'made.npy', 1)),
        ('Calls', Calls(Calls, os.mkdir)),
    ],
)
def test_nothing_is_called(tmp_path, monkeypatch, protocol, name, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'x.pkl').write_bytes(pickle.dumps(dict(gnd=[call]), protocol))
    with pytest.raises(ValueError, match=rf'x\.pkl: this pickle asks for .*{name}, which can run code'):
        read_plain_pickle(tmp_path / 'x.pkl')
    assert [path.name for path in tmp_path.iterdir()] == ['x.pkl']


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'not a complete pickle of plain data'),
        (pickle.dumps(CONTENT)[:-20], 'not a complete pickle of plain data'),
        (pickle.dumps(np.array([{}, None], dtype=object)), "dtype 'O8'"),
        (b'Pplace\n.', 'asks for an object outside of the file'),
        (pickle.dumps(np.arange(4), 2).replace(b'K\x04', b'K\x7f'), 'array of 32 bytes, expected 1016'),
        (b'cnumpy\nndarray\n(I9\ntR.', 'not a complete pickle'),  # the type alone cannot be called
        (b"cnumpy\ndtype\n(S'V8'\ntR.", "dtype 'V8'"),
    ],
    ids=['empty', 'cut off', 'objects', 'persistent', 'wrong length', 'type', 'record'],
)
def test_what_is_no_plain_data_is_refused(tmp_path, data, message):
    (tmp_path / 'x.pkl').write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_plain_pickle(tmp_path / 'x.pkl')


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r'x\.pkl: cannot be read: No such file'):
        read_plain_pickle(tmp_path / 'x.pkl')
