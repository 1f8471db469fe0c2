import pytest
import torch

from mimselfsup.models.maskings import GridMasking

PATTERNS = {  # x hidden, . kept; grid 4 x 6
    0.75: ['.x.x.x', 'xxxxxx', '.x.x.x', 'xxxxxx'],
    0.5: ['.x.x.x', 'x.x.x.', '.x.x.x', 'x.x.x.'],
    0.25: ['......', 'x.x.x.', '......', 'x.x.x.'],
}


@pytest.mark.parametrize('ratio', PATTERNS)
def test_exact_pattern(ratio):
    mask = GridMasking(ratio)((4, 6), 3)
    expected = torch.tensor([[cell == 'x' for cell in ''.join(PATTERNS[ratio])]] * 3)
    assert torch.equal(mask.masked, expected)
    assert mask.num_masked == expected[0].sum()


def test_the_rows_do_not_share_memory():
    mask = GridMasking()((4, 4), 2)
    mask.masked[0] = True
    assert not mask.masked[1].all()


def test_another_ratio():
    with pytest.raises(ValueError, match=r'GridMasking: mask_ratio=0\.6, must be one of \[0\.25, 0\.5, 0\.75\]'):
        GridMasking(0.6)


@pytest.mark.parametrize('grid', [(5, 4), (4, 5)])
def test_odd_side(grid):
    with pytest.raises(ValueError, match=rf'GridMasking: unit=2 does not tile the grid of {grid[0]} x {grid[1]}'):
        GridMasking()(grid, 1)
