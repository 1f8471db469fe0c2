import math

import pytest
import torch

from mimselfsup.models.backbones.positions import sincos_positions


@pytest.mark.parametrize('grid', [(14, 14), (7, 14)])
def test_against_a_loop_over_cells(grid):
    dims = 16
    expected = torch.zeros(1 + grid[0] * grid[1], dims, dtype=torch.float64)
    for row in range(grid[0]):
        for column in range(grid[1]):
            values = []
            for coordinate in (column, row):  # MAE's released code: the column comes first
                angles = [coordinate / 10000 ** (k / (dims / 4)) for k in range(dims // 4)]
                values += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            expected[1 + row * grid[1] + column] = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(sincos_positions(grid, dims)[0].double(), expected, atol=1e-6, rtol=0)


def test_every_cell_of_a_grid_that_is_not_square_has_its_own_code():
    codes = sincos_positions((7, 14), 32, num_extra_tokens=0)[0]
    distances = torch.cdist(codes, codes) + torch.eye(98) * 9
    assert distances.min() > 0.1


def test_refuses_a_width_that_is_no_multiple_of_four():
    with pytest.raises(ValueError, match='multiple of 4, got 18'):
        sincos_positions((4, 4), 18)
