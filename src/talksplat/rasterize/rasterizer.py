"""What every rasterizer does, and the choice of one."""

from importlib.util import find_spec
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from talksplat.camera import Camera
from talksplat.errors import InvalidGaussians
from talksplat.gaussians import Gaussians
from talksplat.tensorclass import TensorClass


class Rendered(TensorClass):
    """A drawn layer over nothing: colours are premultiplied by alpha."""

    colors: Float[Tensor, "H W C"]
    alpha: Float[Tensor, "H W 1"]
    screen_means: Float[Tensor, "N 2"]
    """Projected centres in pixels; densification reads their gradient. Culled Gaussians hold zeros."""


@runtime_checkable
class Rasterizer(Protocol):
    """Draws Gaussians as one camera sees them, by EWA splatting (3DGS, Sec. 4-6).

    Differentiable in every field of the Gaussians. ``screen_means`` is a node of the graph between the means and the
    picture: after ``screen_means.retain_grad()`` and the backward pass its ``grad`` is the loss's gradient in pixels.

    Conventions of all backends: quaternions are normalized; 0.3 px^2 added to the 2D covariance's diagonal;
    Gaussians nearer than 0.01 m culled; the Jacobian's direction clamped at 0.3 half fields of view beyond the
    picture's sides (1.3 times the half field of view); alpha at most 0.99 and left out below 1/255; depth order by
    the camera-space z of the centre.

    Raises:
        InvalidGaussians: a field holds NaN or infinity.
    """

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Rendered: ...


def refuse_invalid(gaussians: Gaussians) -> None:
    """Raise :class:`InvalidGaussians` that names the first field with NaN or infinity."""
    for name in ("means", "quats", "scales", "opacities", "harmonics"):
        values = getattr(gaussians, name)
        if not bool(values.detach().isfinite().all()):
            bad = int((~values.detach().isfinite()).reshape(len(values), -1).any(1).sum())
            raise InvalidGaussians(
                f"{name} of {bad} of {len(values)} Gaussians are NaN or infinite; expected finite numbers",
                hint="lower the learning rate, or take the last checkpoint of the run",
            )


def choose_device(device: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """The device that ``device`` means here: ``auto`` is a GPU when torch sees one and gsplat is installed."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() and find_spec("gsplat") is not None else "cpu"


def choose_rasterizer(device: Literal["auto", "cpu", "cuda"]) -> Rasterizer:
    """The rasterizer of a device; Gaussians and cameras have to lie there (see :func:`choose_device`).

    Raises:
        MissingNative: the compiled part is not built (``cpu``).
        MissingExtra: gsplat is not installed (``cuda``).
        MachineError: torch sees no GPU (``cuda``).
    """
    if choose_device(device) == "cuda":
        from talksplat.rasterize.gsplat import rasterize_on_cuda, require_cuda

        require_cuda()
        return rasterize_on_cuda
    from talksplat.native import library
    from talksplat.rasterize.cpu import rasterize_on_cpu

    library()
    return rasterize_on_cpu
