"""3D Gaussians before and after activation, and spherical-harmonic colours.

Optimisers and deformations work on :class:`RawGaussians`; a rasterizer takes only :class:`Gaussians`.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from talksplat.tensorclass import TensorClass

SH_CONSTANT = 0.28209479177387814
"""Value of the spherical harmonic of degree 0."""


class Gaussians(TensorClass):
    """What a rasterizer draws. Positions in metres in head coordinates (or the torso's fixed frame)."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    """Unit quaternions, (w, x, y, z)."""
    scales: Float[Tensor, "N 3"]
    """Standard deviations along the rotated axes, metres."""
    opacities: Float[Tensor, " N"]
    """In (0, 1)."""
    harmonics: Float[Tensor, "N K C"]
    """Spherical-harmonic coefficients, K = (degree + 1)^2 of 1, 4, 9, 16.

    Colour is the sum of the basis over K, plus 0.5, clamped at 0 below; the direction runs from the camera
    to the Gaussian.
    """


class RawGaussians(TensorClass):
    """Optimised numbers before activation; deltas are added here."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    log_scales: Float[Tensor, "N 3"]
    logit_opacities: Float[Tensor, " N"]
    harmonics: Float[Tensor, "N K C"]

    def moved(
        self,
        *,
        means: Float[Tensor, "N 3"] | None = None,
        quats: Float[Tensor, "N 4"] | None = None,
        log_scales: Float[Tensor, "N 3"] | None = None,
    ) -> "RawGaussians":
        """These Gaussians with offsets added to the raw numbers."""
        return self.replace(
            means=self.means if means is None else self.means + means,
            quats=self.quats if quats is None else self.quats + quats,
            log_scales=self.log_scales if log_scales is None else self.log_scales + log_scales,
        )

    def activate(self) -> Gaussians:
        """exp for scales, sigmoid for opacities, unit quaternions (3DGS, Sec. 5)."""
        return Gaussians(
            means=self.means,
            quats=F.normalize(self.quats, dim=-1),
            scales=self.log_scales.exp(),
            opacities=self.logit_opacities.sigmoid(),
            harmonics=self.harmonics,
        )


def scattered_gaussians(
    points: Float[Tensor, "N 3"], colors: Float[Tensor, "N 3"], degree: int, opacity: float = 0.1
) -> RawGaussians:
    """Round Gaussians at ``points`` (metres), as wide as the distance to their three nearest neighbours."""
    from scipy.spatial import KDTree

    positions = points.detach().cpu().double().numpy()
    distances, _ = KDTree(positions).query(positions, k=min(4, len(positions)))
    spacing = torch.as_tensor((distances[:, 1:] ** 2).mean(1)).clamp_min(1e-7).sqrt().to(points)
    count = len(points)
    harmonics = points.new_zeros(count, (degree + 1) ** 2, 3)
    harmonics[:, 0] = (colors - 0.5) / SH_CONSTANT
    return RawGaussians(
        means=points.clone(),
        quats=points.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        log_scales=spacing.log()[:, None].repeat(1, 3),
        logit_opacities=points.new_full((count,), math.log(opacity / (1 - opacity))),
        harmonics=harmonics,
    )


def morton_order(points: Float[Tensor, "N 3"]) -> Tensor:
    """Indices that sort points along a Morton curve; neighbours in space become neighbours in memory."""
    low, high = points.amin(0), points.amax(0)
    cells = ((points - low) / (high - low).clamp_min(1e-9) * 1023).long()
    code = torch.zeros(len(points), dtype=torch.long, device=points.device)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort()
