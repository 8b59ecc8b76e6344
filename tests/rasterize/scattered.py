"""Random Gaussians before a turned camera, and the gradients of a random loss on their picture."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from talksplat.camera import Camera, rotations_of_euler
from talksplat.gaussians import Gaussians
from talksplat.rasterize.rasterizer import Rendered

FIELDS = ("means", "quats", "scales", "opacities", "harmonics")


def scattered_view(height: int = 75, width: int = 101) -> Camera:
    """A camera 0.6 m away, turned a little, with its principal point off the middle; float64."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotations_of_euler(torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64))
    pose[2, 3] = 0.6
    intrinsics = torch.tensor([[3.0 * width, 0, width / 2 + 3], [0, 3.0 * width - 9, height / 2 - 2], [0, 0, 1]])
    return Camera(head_to_camera=pose, intrinsics=intrinsics.double(), height=height, width=width)


def scattered_crowd(count: int, degree: int, seed: int = 0, channels: int = 3) -> Gaussians:
    """Gaussians of 1 to 10 mm in a cube of 24 cm, some outside the picture; float64."""
    chance = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance, dtype=torch.float64)

    return Gaussians(
        means=(uniform(count, 3) - 0.5) * 0.24,
        quats=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        scales=(0.5 * normal(count, 3) + math.log(0.004)).exp(),
        opacities=0.05 + 0.94 * uniform(count),
        harmonics=0.4 * normal(count, (degree + 1) ** 2, channels),
    )


def gradients(
    draw: Callable[[Gaussians, Camera], Rendered], crowd: Gaussians, camera: Camera, seed: int = 0
) -> tuple[Rendered, dict[str, Tensor]]:
    """The picture, and what a random linear loss on colours and alpha says of every field and of the screen means."""
    chance = torch.Generator().manual_seed(seed)
    leaves = crowd.map(lambda values: values.detach().clone().requires_grad_())
    drawn = draw(leaves, camera)
    drawn.screen_means.retain_grad()
    by_color = torch.randn(drawn.colors.shape, generator=chance, dtype=torch.float64).to(drawn.colors)
    by_alpha = torch.randn(drawn.alpha.shape, generator=chance, dtype=torch.float64).to(drawn.alpha)
    ((drawn.colors * by_color).sum() + (drawn.alpha * by_alpha).sum()).backward()
    found = {name: getattr(leaves, name).grad for name in FIELDS}
    return drawn, {**found, "screen_means": drawn.screen_means.grad}
