"""The mesh renderer and subdivision against exact geometry."""

import numpy as np
import pytest

from talksplat.synthetic.mesh import NormalField, grid_triangles, interpolating_subdivision
from talksplat.synthetic.renderer import project, rasterize

INTRINSICS = np.array([[80.0, 0, 32], [0, 80, 32], [0, 0, 1]])
SQUARE = np.array([[0, 2, 1], [1, 2, 3]])


def slanted_square(depth: float = 1.0) -> np.ndarray:
    """Corners (left top, right top, left bottom, right bottom) of a square whose right side is twice as far."""
    return np.array([[-0.3, -0.3, 1], [0.6, -0.6, 2], [-0.3, 0.3, 1], [0.6, 0.6, 2]], dtype=float) * depth


def draw(points: np.ndarray, triangles: np.ndarray, size: int = 64):
    return rasterize(project(points, INTRINSICS), points[:, 2], triangles, size)


def test_interpolation_is_perspective_correct():
    points = slanted_square()
    seen = draw(points, SQUARE)
    found = seen.interpolate(SQUARE, points)
    y, x = np.divmod(seen.pixels, 64)
    # Seen points project onto their own pixel centers and lie in the square's plane x = 0.9 (z - 1) - 0.3.
    assert np.allclose(project(found, INTRINSICS), np.stack([x, y], -1) + 0.5, atol=1e-4)
    assert np.allclose(found[:, 0], 0.9 * (found[:, 2] - 1) - 0.3, atol=1e-5)
    assert np.allclose(1 / seen.inverse_depth, found[:, 2], atol=1e-5)


def test_neighbors_leave_no_cracks_and_a_square_has_its_area():
    rows = 41
    grid = np.stack(np.meshgrid(np.linspace(-0.313, 0.3, rows), np.linspace(-0.3, 0.29, rows)), -1).reshape(-1, 2)
    points = np.concatenate([grid, np.ones((len(grid), 1))], 1)
    seen = draw(points, grid_triangles(rows, rows))
    corners = project(points, INTRINSICS)
    low, high = np.ceil(corners.min(0) - 0.5), np.floor(corners.max(0) - 0.5)
    assert len(seen.pixels) == np.prod(high - low + 1)


def test_the_nearest_wins_and_backs_are_not_seen():
    far, near = slanted_square(1.5), slanted_square(1.0)
    both = np.concatenate([far, near])
    triangles = np.concatenate([SQUARE, SQUARE + 4])
    assert set(draw(both, triangles).triangles) <= {2, 3}
    assert set(draw(both, triangles[::-1]).triangles) <= {0, 1}
    assert len(draw(near, SQUARE[:, ::-1]).pixels) == 0


def test_what_is_behind_the_camera_is_not_drawn():
    points = slanted_square()
    points[0, 2] = -1.0
    assert set(draw(points, SQUARE).triangles) <= {1}


def test_subdivision_passes_through_the_given_vertices_and_reproduces_planes():
    rows = 7
    grid = np.stack(np.meshgrid(np.arange(rows, dtype=float), np.arange(rows)), -1).reshape(-1, 2)
    coarse = np.concatenate([grid, (grid @ [0.3, -0.2])[:, None]], 1)
    corners = (0, rows - 1, rows * (rows - 1), rows * rows - 1)
    fine = interpolating_subdivision(grid_triangles(rows, rows), len(coarse), corners)
    assert len(fine.triangles) == 16 * 2 * (rows - 1) ** 2
    points = fine.weights @ coarse
    assert np.allclose(points[: len(coarse)], coarse, atol=1e-12)
    assert np.allclose(points[:, 2], points[:, :2] @ [0.3, -0.2], atol=1e-4)
    coarse[:, 2] = np.random.default_rng(0).normal(size=len(coarse))
    assert np.allclose((fine.weights @ coarse)[: len(coarse)], coarse, atol=1e-6)


def test_normals_of_a_sphere_point_outward():
    polar, around = np.meshgrid(np.linspace(0.3, 2.8, 40), np.linspace(0, 2 * np.pi, 60, False), indexing="ij")
    ball = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), -np.sin(polar) * np.sin(around)], -1)
    ball = ball.reshape(-1, 3)
    normals = NormalField(grid_triangles(40, 60, closed=True), len(ball))(ball)
    inner = slice(60, -60)
    assert (normals[inner] * ball[inner]).sum(1).min() == pytest.approx(1, abs=0.01)
