import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True, scope='module')
def scope_of_other_files():
    """A Runner leaves its default scope behind, in which the next file's types would be looked for."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
