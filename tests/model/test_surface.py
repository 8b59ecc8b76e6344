"""Laws of the surface that a picture shows: depths at the face and the outline, grids, and what covers what."""

import math

import pytest
import torch

from talksplat.camera import Camera, project
from talksplat.model.surface import (
    OUTLINE_DEPTH,
    colors_at,
    grid_stride,
    head_depth,
    pixel_grid,
    surface_gaussians,
    unproject,
)

SIZE = 128


def camera(turn: float = 0.0) -> Camera:
    pose = torch.eye(4)
    pose[0, 0], pose[0, 2] = math.cos(turn), math.sin(turn)
    pose[2, 0], pose[2, 2] = -math.sin(turn), math.cos(turn)
    pose[2, 3] = 0.7
    intrinsics = torch.tensor([[250.0, 0, SIZE / 2], [0, 250.0, SIZE / 2], [0, 0, 1]])
    return Camera(head_to_camera=pose, intrinsics=intrinsics, height=SIZE, width=SIZE)


def dome() -> torch.Tensor:
    """A face: the cap of a sphere of 8 cm towards the camera."""
    turn = torch.arange(468) * 2.4
    out = ((torch.arange(468) + 0.5) / 468).sqrt() * 0.06
    return torch.stack([out * turn.cos(), out * turn.sin(), -(0.08**2 - out**2).sqrt()], 1)


def disk(radius: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    return (rows - SIZE / 2) ** 2 + (columns - SIZE / 2) ** 2 < radius**2


def test_depth_is_the_faces_in_the_middle_and_the_axis_at_the_outline() -> None:
    depth = head_depth(dome(), disk(45), camera())
    assert float(depth[SIZE // 2, SIZE // 2]) == pytest.approx(0.62, abs=0.002)
    assert float(depth[SIZE // 2, 1]) == pytest.approx(0.7 + OUTLINE_DEPTH, abs=1e-4)
    row = depth[SIZE // 2, SIZE // 2 : SIZE // 2 + 45]
    assert bool((row.diff() > -1e-4).all()), "the head falls away from the nose to the outline"
    # A membrane has no extremes of its own: between rim and outline every depth lies between theirs.
    rim = float(project(camera(), dome())[1].max())
    between = depth[disk(43) & ~disk(27)]
    assert rim - 0.01 < float(between.min())
    assert float(between.max()) < 0.7 + OUTLINE_DEPTH + 1e-4


def test_depth_of_the_face_is_exact_at_its_vertices() -> None:
    view = camera(0.2)
    face = dome()
    depth = head_depth(face, disk(60), view)
    pixels, expected = project(view, face)
    inner = face[:, :2].norm(dim=1) < 0.05
    cells = pixels[inner].floor().long()
    assert float((depth[cells[:, 1], cells[:, 0]] - expected[inner]).abs().max()) < 0.003


def test_unproject_undoes_project() -> None:
    view = camera(0.3)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 0.2 - 0.1
    pixels, depth = project(view, points)
    torch.testing.assert_close(unproject(pixels, depth, view), points, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride", [1.0, 2.5, 7.0])
def test_grid_is_as_dense_as_asked_and_inside(stride: float) -> None:
    mask = disk(50)
    pixels = pixel_grid(mask, stride)
    expected = float(mask.sum()) / (stride**2 * math.sqrt(0.75))
    assert len(pixels) == pytest.approx(expected, rel=0.1)
    cells = pixels.floor().long()
    assert bool(mask[cells[:, 1], cells[:, 0]].all())
    distance = torch.cdist(pixels, pixels).fill_diagonal_(99).amin(1)
    assert float(distance.median()) == pytest.approx(stride, rel=0.1)


def test_stride_gives_the_number_asked_for() -> None:
    mask = disk(50)
    assert len(pixel_grid(mask, grid_stride(mask, 1_000))) == pytest.approx(1_000, rel=0.05)
    assert grid_stride(mask, 10**6) == 1.0


def test_an_empty_mask_gives_no_points() -> None:
    assert pixel_grid(torch.zeros(SIZE, SIZE, dtype=torch.bool), 2.0).shape == (0, 2)


def test_colors_are_means_of_their_squares() -> None:
    image = torch.zeros(8, 8, 3)
    image[:, 4:] = 1
    found = colors_at(image, torch.tensor([[1.5, 4.5], [6.5, 4.5]]), 3.0)
    torch.testing.assert_close(found, torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_surface_gaussians_are_as_wide_as_their_spacing() -> None:
    spacing = torch.tensor([0.001, 0.004])
    raw = surface_gaussians(torch.zeros(2, 3), torch.full((2, 3), 0.25), spacing, degree=1)
    assert float(raw.log_scales[1, 0] - raw.log_scales[0, 2]) == pytest.approx(math.log(4))
    assert raw.harmonics.shape == (2, 4, 3)
    assert float(raw.activate().opacities[0]) == pytest.approx(0.4)
