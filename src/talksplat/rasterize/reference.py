"""The specification: every pixel of every Gaussian, in plain torch; exact in float64, differentiable by autograd."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from talksplat.camera import Camera, quats_to_rotations
from talksplat.gaussians import SH_CONSTANT, Gaussians
from talksplat.rasterize.rasterizer import Rendered, refuse_invalid

NEAR_PLANE = 0.01
"""Metres; Gaussians nearer than this are left out."""
BLUR = 0.3
"""px^2, added to both variances on the screen."""
ALPHA_MOST = 0.99
ALPHA_LEAST = 1 / 255


def rasterize_exactly(gaussians: Gaussians, camera: Camera) -> Rendered:
    """Draw by the equations, without tiles and without stopping early; memory and time grow as N H W.

    Raises:
        InvalidGaussians: a field holds NaN or infinity.
    """
    refuse_invalid(gaussians)
    seen = gaussians.means @ camera.head_to_camera[:3, :3].T + camera.head_to_camera[:3, 3]
    shown = seen[:, 2] >= NEAR_PLANE
    seen = torch.where(shown[:, None], seen, seen.new_tensor([0.0, 0.0, 1.0]))
    focal, center = camera.intrinsics.diagonal()[:2], camera.intrinsics[:2, 2]
    screen_means = torch.where(shown[:, None], focal * seen[:, :2] / seen[:, 2:] + center, 0)
    conics = torch.linalg.inv(screen_covariances(gaussians, camera, seen))
    columns = torch.arange(camera.width).to(seen) + 0.5
    rows = torch.arange(camera.height).to(seen) + 0.5
    offsets = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1) - screen_means[:, None, None]
    powers = -0.5 * torch.einsum("nhwi,nij,nhwj->nhw", offsets, conics, offsets)
    alphas = (gaussians.opacities[:, None, None] * powers.exp()).clamp(max=ALPHA_MOST)
    alphas = torch.where((alphas >= ALPHA_LEAST) & shown[:, None, None], alphas, 0)
    order = seen[:, 2].argsort(stable=True)
    alphas, colors = alphas[order], view_colors(gaussians, camera)[order]
    passed = torch.cat([torch.ones_like(alphas[:1]), (1 - alphas).cumprod(0)])
    weights = alphas * passed[:-1]
    return Rendered(
        colors=torch.einsum("nhw,nc->hwc", weights, colors),
        alpha=1 - passed[-1][..., None],
        screen_means=screen_means,
    )


def screen_covariances(gaussians: Gaussians, camera: Camera, seen: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2 2"]:
    """Covariances in px^2 (EWA splatting; 3DGS, Eq. 5), blurred."""
    focal, center = camera.intrinsics.diagonal()[:2], camera.intrinsics[:2, 2]
    size = focal.new_tensor([camera.width, camera.height])
    margin = 0.15 * size / focal  # 0.3 times half the field of view, as a slope
    slopes = (seen[:, :2] / seen[:, 2:]).clamp(min=-center / focal - margin, max=(size - center) / focal + margin)
    stretch = focal / seen[:, 2:]
    jacobians = torch.cat([torch.diag_embed(stretch), -(stretch * slopes)[:, :, None]], -1)
    rotations = quats_to_rotations(F.normalize(gaussians.quats, dim=-1))
    axes = jacobians @ camera.head_to_camera[:3, :3] @ (rotations * gaussians.scales[:, None])
    return axes @ axes.mT + BLUR * torch.eye(2).to(axes)


def view_colors(gaussians: Gaussians, camera: Camera) -> Float[Tensor, "N C"]:
    """Spherical harmonics along the directions from the camera, plus one half, clamped at zero."""
    position = -camera.head_to_camera[:3, :3].T @ camera.head_to_camera[:3, 3]
    values = harmonic_values(F.normalize(gaussians.means - position, dim=-1), gaussians.harmonics.shape[1])
    return (torch.einsum("nk,nkc->nc", values, gaussians.harmonics) + 0.5).clamp(min=0)


def harmonic_values(directions: Float[Tensor, "N 3"], bases: int) -> Float[Tensor, "N K"]:
    """The first ``bases`` (1, 4, 9 or 16) real spherical harmonics, with the signs of 3DGS."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [torch.full_like(x, SH_CONSTANT), *(0.4886025119029199 * v for v in (-y, z, -x))]
    values += [
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]
    return torch.stack(values[:bases], -1)
