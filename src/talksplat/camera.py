"""Pinhole cameras in OpenCV axes (x right, y down, z forward) and the geometry of head poses.

The world is fixed to the head, in metres; ``head_to_camera`` carries its points into the camera's frame.
Pixel centres are at whole numbers plus a half: a point at intrinsics' (cx, cy) = (W/2, H/2) lies in the middle.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from talksplat.tensorclass import TensorClass


class Camera(TensorClass):
    """One view, or a batch of views of one size."""

    head_to_camera: Float[Tensor, "*batch 4 4"]
    """Rigid transform from head (world) to camera coordinates, metres."""
    intrinsics: Float[Tensor, "*batch 3 3"]
    """Focal lengths and principal point, pixels."""
    height: int
    width: int


def project(camera: Camera, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 2"], Float[Tensor, " N"]]:
    """Pixel positions and depths (metres) of world points seen by one camera."""
    seen = points @ camera.head_to_camera[:3, :3].T + camera.head_to_camera[:3, 3]
    homogeneous = seen @ camera.intrinsics.T
    return homogeneous[:, :2] / homogeneous[:, 2:], seen[:, 2]


def quats_to_rotations(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of unit quaternions (w, x, y, z)."""
    w, x, y, z = quats.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def euler_of_rotations(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Angles (x, y, z) in radians with R = Rz Ry Rx; continuous while the head turns less than 90 degrees."""
    x = torch.atan2(rotations[..., 2, 1], rotations[..., 2, 2])
    y = torch.asin((-rotations[..., 2, 0]).clamp(-1, 1))
    z = torch.atan2(rotations[..., 1, 0], rotations[..., 0, 0])
    return torch.stack([x, y, z], -1)


def rotations_of_euler(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Inverse of :func:`euler_of_rotations`."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
