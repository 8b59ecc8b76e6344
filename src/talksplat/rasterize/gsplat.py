"""The rasterizer for NVIDIA GPUs, by gsplat. Its only place: our types go in and come out."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from talksplat.camera import Camera
from talksplat.errors import MachineError, MissingExtra
from talksplat.gaussians import Gaussians
from talksplat.rasterize.rasterizer import Rendered, refuse_invalid
from talksplat.rasterize.reference import ALPHA_MOST, BLUR, NEAR_PLANE, view_colors

TILE = 16
"""Pixels along one side of gsplat's tiles."""


def require_cuda() -> None:
    """Raise unless gsplat can draw here.

    Raises:
        MissingExtra: gsplat is not installed.
        MachineError: torch sees no GPU.
    """
    if find_spec("gsplat") is None:
        raise MissingExtra(
            "gsplat is not installed; drawing on a GPU needs it",
            hint="pip install 'talksplat[cuda]', or choose --device cpu",
        )
    if not torch.cuda.is_available():
        raise MachineError(
            f"torch {torch.__version__} sees no CUDA GPU; expected one for drawing with gsplat",
            hint="choose --device cpu, or install a CUDA build of torch and the driver",
        )


def rasterize_on_cuda(gaussians: Gaussians, camera: Camera) -> Rendered:
    """Draw on the GPU that the Gaussians and the camera lie on, in float32.

    gsplat lets alpha reach 0.999; opacities are clamped to 0.99 instead, which differs from the other backends only
    near the centres of Gaussians above it. Gaussians outside the image are culled too.

    Raises:
        InvalidGaussians: a field holds NaN or infinity.
        MissingExtra: gsplat is not installed.
        MachineError: torch sees no GPU.
    """
    require_cuda()
    refuse_invalid(gaussians)
    drawn, view = gaussians.to(torch.float32), camera.to(torch.float32)
    if len(drawn.means) == 0:
        blank = drawn.means.new_zeros(camera.height, camera.width, drawn.harmonics.shape[2])
        return Rendered(colors=blank, alpha=blank.new_zeros(*blank.shape[:2], 1), screen_means=drawn.means[:, :2])
    opacities = drawn.opacities.clamp(max=ALPHA_MOST)
    radii, screen_means, depths, conics = _project(drawn, opacities, view)
    colors, alpha = _blend(view, radii, screen_means, depths, conics, view_colors(drawn, view), opacities)
    return Rendered(colors=colors, alpha=alpha, screen_means=screen_means)


def _gsplat() -> Any:
    import gsplat  # pyright: ignore[reportMissingImports] # The package, never this file.

    return gsplat


def _project(gaussians: Gaussians, opacities: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Radii (N 2, zero when culled), centres (N 2), depths (N) and conics (N 3) on the screen."""
    radii, centers, depths, conics, _ = _gsplat().fully_fused_projection(
        gaussians.means,
        None,
        gaussians.quats,
        gaussians.scales,
        camera.head_to_camera[None],
        camera.intrinsics[None],
        camera.width,
        camera.height,
        eps2d=BLUR,
        near_plane=NEAR_PLANE,
        opacities=opacities.detach(),
    )
    visible = (radii[0] > 0).all(-1, keepdim=True)
    return radii[0], torch.where(visible, centers[0], 0), depths[0], conics[0]


def _blend(camera: Camera, *fields: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and alpha of projected Gaussians; their screen means are a node of the graph on the way."""
    gsplat = _gsplat()
    radii, screen_means, depths, conics, colors, opacities = (field[None] for field in fields)
    across, down = -(-camera.width // TILE), -(-camera.height // TILE)
    _, crossings, numbers = gsplat.isect_tiles(screen_means, radii, depths, TILE, across, down)
    starts = gsplat.isect_offset_encode(crossings, 1, across, down)
    picture, alpha = gsplat.rasterize_to_pixels(
        screen_means, conics, colors, opacities, camera.width, camera.height, TILE, starts, numbers
    )
    return picture[0], alpha[0]
