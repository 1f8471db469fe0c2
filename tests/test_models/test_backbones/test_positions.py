import math

import pytest
import torch
import torch.nn.functional as F

from mimselfsup.models.backbones.positions import resize_positions_as_dino, sincos_positions


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


@pytest.mark.parametrize('grid', [(6, 6), (9, 6), (14, 30)])
def test_resize_as_in_dinos_released_code(grid):
    """Its call: a scale factor, computed from the new side plus 0.1."""
    table = torch.randn(1, 1 + 14 * 14, 8)
    maps = table[:, 1:].reshape(1, 14, 14, 8).permute(0, 3, 1, 2)
    scale = ((grid[0] + 0.1) / math.sqrt(196), (grid[1] + 0.1) / math.sqrt(196))
    expected = F.interpolate(maps, scale_factor=scale, mode='bicubic').permute(0, 2, 3, 1).reshape(1, -1, 8)
    assert expected.shape[1] == grid[0] * grid[1]
    resized = resize_positions_as_dino(table, (14, 14), grid)
    assert torch.equal(resized[:, :1], table[:, :1])
    assert torch.equal(resized[:, 1:], expected)


def test_dinos_resize_samples_off_the_exact_places():
    """Of a ramp, on which cubic interpolation is right to 0.06 away from the border, it shows by how much."""
    ramp = torch.arange(14.0).view(1, 1, 14, 1).expand(1, 14, 14, 1).reshape(1, 196, 1)
    row = resize_positions_as_dino(ramp, (14, 14), (6, 6), num_extra_tokens=0).view(6, 6)[3]
    expected = (torch.arange(6) + 0.5) * 14 / 6.1 - 0.5
    torch.testing.assert_close(row[1:5], expected[1:5], atol=0.06, rtol=0)
    assert (row[1:5] - ((torch.arange(6) + 0.5) * 14 / 6 - 0.5)[1:5]).abs().max() > 0.15


def test_dinos_resize_leaves_the_own_grid_alone():
    table = torch.randn(1, 7, 4)
    assert resize_positions_as_dino(table, (2, 3), (2, 3)) is table
