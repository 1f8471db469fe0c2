import pytest

from mimselfsup.datasets.class_names import read_class_names


@pytest.mark.parametrize('text', ['a\nb c\n', 'a\nb c', '\ufeffa\r\nb c \r\n\n'])
def test_names_are_lines_however_the_file_ends(tmp_path, text):
    path = tmp_path / 'classes.txt'
    path.write_bytes(text.encode())
    assert read_class_names(path) == ('a', 'b c')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\n', 'no names of classes'),
        (b'a\n\nb\n', 'line 2 is empty'),
        (b'a\nb\na\n', 'a stands there twice'),
        (b'caf\xe9\n', 'not UTF-8'),
    ],
)
def test_a_file_that_would_shift_the_labels_is_refused(tmp_path, content, message):
    path = tmp_path / 'classes.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_class_names(path)
    assert str(path) in str(error.value)
