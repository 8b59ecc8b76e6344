"""Which Gaussians to clone, split and remove: statistics in, a :class:`RowPlan` out (3DGS, Sec. 5)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from talksplat.camera import quats_to_rotations
from talksplat.gaussians import SH_CONSTANT, RawGaussians, morton_order
from talksplat.methods.method import DensifyPolicy
from talksplat.model.cloud import RowPlan

SPLIT_SHRINK = 1.6
"""A split Gaussian's halves are this much smaller (3DGS)."""
KEY_MARGIN = 30 / 255
"""A colour this near to the key in every channel counts as the key's."""


class ScreenStatistics:
    """Mean gradient of the screen position of every Gaussian over the steps in which it was seen."""

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        self.total = torch.zeros(count, device=device)
        self.seen = torch.zeros(count, device=device)

    def add(self, gradient: Float[Tensor, "N 2"], height: int, width: int) -> None:
        """Count one step; ``gradient`` is with respect to pixels and is turned to device coordinates."""
        size = (gradient * gradient.new_tensor([width / 2, height / 2])).norm(dim=1)
        self.total += size
        self.seen += size > 0

    def mean(self) -> Float[Tensor, " N"]:
        """Mean gradient, zero where never seen."""
        return self.total / self.seen.clamp_min(1)


def density_plan(
    raw: RawGaussians,
    gradient: Float[Tensor, " N"],
    policy: DensifyPolicy,
    generator: torch.Generator,
    *,
    step: int = 0,
    pixel: float = 0.0,
) -> RowPlan:
    """One round: small Gaussians with a large gradient are cloned, large ones split in two; faint or huge ones go.

    A layer is never emptied; growth stops at ``policy.max_points``, largest gradients first. ``step`` is the stage's,
    ``pixel`` the width of a pixel at the head, metres. The result is in Morton order, which the CPU rasterizer draws
    faster.
    """
    scales = raw.log_scales.exp().amax(1)
    alive = _worth_keeping(raw, scales, policy, step, pixel)
    if not bool(alive.any()):  # A layer that is not seen yet must stay able to learn.
        alive = torch.ones_like(alive)
    growing = alive & (gradient >= policy.gradient_threshold)
    room = max(0, policy.max_points - int(alive.sum()))
    if int(growing.sum()) > room:
        chosen = gradient.where(growing, torch.zeros_like(gradient)).argsort(descending=True)[:room]
        growing = torch.zeros_like(growing)
        growing[chosen] = True
    split, clone = growing & (scales > policy.split_size), growing & (scales <= policy.split_size)
    kept = torch.nonzero(alive & ~split).squeeze(1)
    cloned = torch.nonzero(clone).squeeze(1)
    halves = torch.nonzero(split).squeeze(1).repeat(2)
    source = torch.cat([kept, cloned, halves])
    changed = raw.map(lambda tensor: tensor.detach()[source].clone())
    tail = slice(len(kept) + len(cloned), None)
    noise = torch.randn(len(halves), 3, generator=generator).to(changed.means) * changed.log_scales[tail].exp()
    rotations = quats_to_rotations(F.normalize(changed.quats[tail], dim=-1))
    changed.means[tail] += (rotations @ noise[:, :, None]).squeeze(-1)
    changed.log_scales[tail] -= math.log(SPLIT_SHRINK)
    fresh = torch.arange(len(source), device=source.device) >= len(kept)
    order = morton_order(changed.means) if len(source) else source
    return RowPlan(source=source[order], fresh=fresh[order], changed=changed.rows(order))


def _worth_keeping(
    raw: RawGaussians, scales: Float[Tensor, " N"], policy: DensifyPolicy, step: int, pixel: float
) -> Bool[Tensor, " N"]:
    """Neither faint nor huge nor painted in the key colour (as seen from the front)."""
    limit = policy.min_opacity
    if policy.min_opacity_end is not None:
        progress = (step - policy.start) / max(1, policy.stop - policy.start)
        limit += (policy.min_opacity_end - limit) * min(1.0, max(0.0, progress))
    alive = (raw.logit_opacities.sigmoid() >= limit) & (scales <= policy.max_size)
    alive &= 3 * scales <= policy.max_radius_px * pixel if pixel > 0 else torch.ones_like(alive)
    if policy.key is not None:
        off = (raw.harmonics[:, 0] * SH_CONSTANT + 0.5 - raw.harmonics.new_tensor(policy.key)).abs().amax(1)
        alive &= off >= KEY_MARGIN
    return alive
