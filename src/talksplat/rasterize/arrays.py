"""Drawing numpy arrays, for programs that speak without loading torch."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from talksplat.errors import InvalidGaussians
from talksplat.rasterize.drawing import Drawing, RasterInputs


def draw_arrays(
    gaussians: RasterInputs,
    head_to_camera: NDArray[np.float32],
    intrinsics: NDArray[np.float32],
    size: tuple[int, int],
    threads: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours (H W 3, premultiplied) and alpha (H W 1) of numpy Gaussians, with the conventions of ``Rasterizer``.

    ``size`` is (height, width); ``threads`` are all processors by default.

    Raises:
        InvalidGaussians: a field holds NaN or infinity.
        MissingNative: the compiled part is not built.
    """
    names = ("means", "quats", "scales", "opacities", "harmonics")
    inputs = RasterInputs(*(np.ascontiguousarray(getattr(gaussians, name), np.float32) for name in names))
    workers = threads or len(os.sched_getaffinity(0))
    drawing = Drawing(inputs, head_to_camera.tolist(), intrinsics.tolist(), size, workers)
    colors, alpha = np.empty((*size, 3), np.float32), np.empty((*size, 1), np.float32)
    if not drawing.forward(colors, alpha, None):
        broken = [name for name in names if not np.isfinite(getattr(inputs, name)).all()]
        raise InvalidGaussians(
            f"{' and '.join(broken)} of the Gaussians hold NaN or infinity; expected finite numbers",
            hint="check what computed them; an avatar file that was trained to the end holds none",
        )
    return colors, alpha
