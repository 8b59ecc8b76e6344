"""One drawing by the compiled rasterizer, of torch tensors or numpy arrays alike; torch is not needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from talksplat.native import RasterArguments, RasterContext, RasterCounts, RasterGradients, address, library

BASES = (1, 4, 9, 16)
"""Numbers of spherical harmonics up to degrees 0 ... 3."""

_idle: list[RasterContext] = []
_busy: list[RasterContext] = []  # Held here too, so that collecting a forgotten drawing cannot take its context along.
_lock = threading.RLock()  # The garbage collector may end a drawing while this very thread begins another.


def _reserved() -> RasterContext:
    """An idle context of the library in use, or a new one."""
    with _lock:
        fitting = [context for context in _idle if context.native is library()]
        context = fitting[0] if fitting else RasterContext()
        if fitting:
            _idle.remove(context)
        _busy.append(context)
        return context


def _released(context: RasterContext) -> None:
    with _lock:
        _busy.remove(context)
        _idle.append(context)


@dataclass(frozen=True)
class RasterInputs:
    """Contiguous float32 arrays on the processor: N 3, N 4, N 3, N and N K 3. See ``Gaussians`` for their meaning."""

    means: Any
    quats: Any
    scales: Any
    opacities: Any
    harmonics: Any


def _checked_shape(inputs: RasterInputs) -> tuple[int, int]:
    """Numbers of Gaussians and of harmonics; compiled code would read past the end of arrays that do not fit."""
    count, bases, channels = inputs.harmonics.shape
    if bases not in BASES or channels != 3:
        raise ValueError(f"harmonics are N x {bases} x {channels}; expected N x (1, 4, 9 or 16) x 3")
    expected = {"means": (count, 3), "quats": (count, 4), "scales": (count, 3), "opacities": (count,)}
    for name, shape in expected.items():
        found = tuple(getattr(inputs, name).shape)
        if found != shape:
            raise ValueError(f"{name} have shape {found}; expected {shape} for {count} rows of harmonics")
    return count, bases


class Drawing:
    """Inputs, size and scratch memory of one forward pass; the memory serves other drawings once this one is gone."""

    def __init__(
        self,
        inputs: RasterInputs,
        head_to_camera: Sequence[Sequence[float]],
        intrinsics: Sequence[Sequence[float]],
        size: tuple[int, int],
        threads: int,
    ) -> None:
        """``size`` is (height, width) in pixels.

        Raises:
            ValueError: the arrays do not fit together, or the intrinsics have a skew.
        """
        count, bases = _checked_shape(inputs)
        if intrinsics[0][1] != 0:
            raise ValueError(f"intrinsics have a skew of {intrinsics[0][1]}; expected square pixel axes")
        self._inputs = inputs  # Keeps the arrays alive for as long as their addresses are used.
        self._arguments = RasterArguments(count, bases, size[1], size[0], max(1, threads))
        self._arguments.focal[:] = [intrinsics[0][0], intrinsics[1][1]]
        self._arguments.center[:] = [intrinsics[0][2], intrinsics[1][2]]
        self._arguments.view[:] = [number for row in head_to_camera[:3] for number in row]
        for name in ("means", "quats", "scales", "opacities", "harmonics"):
            setattr(self._arguments, name, address(getattr(inputs, name)).value)
        self._context = _reserved()

    def __del__(self) -> None:
        if hasattr(self, "_context"):
            _released(self._context)

    @property
    def arguments(self) -> RasterArguments:
        """The drawing as the compiled code takes it."""
        return self._arguments

    def forward(self, colors: Any, alpha: Any, screen_means: Any) -> bool:
        """Fill H W 3 colours, H W alpha and N 2 centres (or None), float32; False if an input is not finite."""
        return self._context.forward(self._arguments, colors, alpha, screen_means)

    def backward(self, d_colors: Any, d_alpha: Any, gradients: RasterGradients) -> None:
        """Gradients of the forward pass; see :meth:`RasterContext.backward`."""
        self._context.backward(self._arguments, d_colors, d_alpha, gradients)

    def counts(self) -> RasterCounts:
        """How much work the forward pass was."""
        return self._context.counts()

    def lists(self, starts: Any, pairs: Any) -> None:
        """Copy the tile lists of the forward pass; see :meth:`RasterContext.lists`."""
        self._context.lists(starts, pairs)
