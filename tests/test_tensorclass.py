"""The runtime shape checks fire, and records behave as values."""

import jaxtyping
import pytest
import torch

from talksplat.camera import Camera, euler_of_rotations, rotations_of_euler
from talksplat.gaussians import Gaussians


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Gaussians(
            means=torch.zeros(4, 3),
            quats=torch.zeros(5, 4),
            scales=torch.ones(4, 3),
            opacities=torch.ones(4),
            harmonics=torch.zeros(4, 1, 3),
        )


def test_stack_adds_a_leading_axis_and_keeps_plain_values() -> None:
    camera = Camera(head_to_camera=torch.eye(4), intrinsics=torch.eye(3), height=8, width=6)
    batch = Camera.stack([camera, camera])
    assert batch.head_to_camera.shape == (2, 4, 4)
    assert (batch.height, batch.width) == (8, 6)


def test_euler_angles_round_trip() -> None:
    angles = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.4
    assert torch.allclose(euler_of_rotations(rotations_of_euler(angles)), angles, atol=1e-12)
