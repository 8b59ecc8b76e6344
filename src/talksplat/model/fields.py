"""Features of a point from three planes of multi-resolution grids (the lineage's tri-plane hash encoder).

ER-NeRF (Sec. 3.2) factors space into the planes xy, yz and xz; TalkingGaussian and GSTalker use it with one number a
level. The lookup rule is that of the lineage's grid encoder without aligned corners.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from talksplat import native

PLANES = ((0, 1), (1, 2), (0, 2))
"""Axes of the planes xy, yz and xz."""
HASH_PRIME = 2654435761
START = 1e-4
"""Entries start uniformly in [-START, START]."""


@dataclass(frozen=True)
class GridLevels:
    """The levels of one plane: coordinates u in [0, 1] are scaled by ``scales`` and shifted by half a cell.

    A level of ``strides`` corners a side lies in its table row by row, or hashed where the table is shorter.
    """

    scales: np.ndarray
    strides: np.ndarray
    offsets: np.ndarray
    """First entry of each level in its plane's table."""
    lengths: np.ndarray

    @property
    def entries(self) -> int:
        """Entries of one plane."""
        return int(self.lengths.sum())

    def is_hashed(self, level: int) -> bool:
        """Whether a level has more corners than entries."""
        return int(self.strides[level]) ** 2 > int(self.lengths[level])


def grid_levels(levels: int, base: int | float, finest: int | float, log2_table: int) -> GridLevels:
    """``levels`` resolutions in geometric progression from ``base`` to ``finest``, at most 2^log2_table entries each.

    s = base r^l - 1, N = ceil(s) + 1, table length (N + 1)^2 rounded up to a multiple of 8. ``finest`` may lie below
    ``base`` (TalkingGaussian's mouth).
    """
    ratio = (finest / base) ** (1 / (levels - 1)) if levels > 1 else 1.0
    scales = [base * ratio**level - 1 for level in range(levels)]
    strides = [math.ceil(scale - 1e-9) + 2 for scale in scales]
    lengths = [min((stride**2 + 7) // 8 * 8, 2**log2_table) for stride in strides]
    return GridLevels(
        scales=np.array(scales, np.float32),
        strides=np.array(strides, np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32),
        lengths=np.array(lengths, np.int32),
    )


class TriPlaneEncoder(nn.Module):
    """Three planes of ``levels`` grids, looked up bilinearly; ``width`` = 3 ``levels`` numbers a point.

    ``bound`` is half the width of the encoded box around the origin, in the points' unit: one number for a cube, three
    for a box. A plane answers 0, without gradient, to points outside the box along one of its axes. Differentiable in
    the tables and in the points.
    """

    def __init__(
        self,
        *,
        levels: int,
        base: int | float,
        finest: int | float,
        log2_table: int = 17,
        bound: int | float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        self.grid = grid_levels(levels, base, finest, log2_table)
        self.width = len(PLANES) * levels
        bounds = (bound, bound, bound) if isinstance(bound, int | float) else tuple(bound)
        self.bound = tuple(float(b) for b in bounds)
        self.tables = nn.Parameter(torch.empty(len(PLANES), self.grid.entries).uniform_(-START, START))
        inverse_extents = np.array([0.5 / b for b in self.bound], np.float32)
        grid = self.grid
        self._native_levels = (grid.scales, grid.strides, grid.offsets, grid.lengths, inverse_extents)

    def forward(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N {self.width}"]:
        """Features in the order plane, level."""
        if native.takes(points, self.tables):
            return _LookUp.apply(points, self.tables, self._native_levels)
        return self.plain(points)

    def plain(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N {self.width}"]:
        """The same in torch alone, on any device and in any float type: the native pass's specification."""
        places = points / (2 * points.new_tensor(self.bound)) + 0.5
        features = []
        for plane, axes in enumerate(PLANES):
            place = places[:, axes]
            inside = ((place >= 0) & (place <= 1)).all(1)
            place = torch.where(inside[:, None], place, 0.0)
            for level in range(len(self.grid.scales)):
                features.append(torch.where(inside, self._plain_level(plane, level, place), 0.0))
        return torch.stack(features, 1)

    def _plain_level(self, plane: int, level: int, place: Float[Tensor, "N 2"]) -> Float[Tensor, " N"]:
        grid = self.grid
        offset, length, stride = int(grid.offsets[level]), int(grid.lengths[level]), int(grid.strides[level])
        table = self.tables[plane, offset : offset + length]
        position = place * float(grid.scales[level]) + 0.5
        corner = position.detach().floor()
        fraction = position - corner
        value = torch.zeros_like(fraction[:, 0])
        for first in (0, 1):
            for second in (0, 1):
                x, y = corner[:, 0].long() + first, corner[:, 1].long() + second
                index = (x ^ (y * HASH_PRIME)) % length if grid.is_hashed(level) else x + y * stride
                weight_x = fraction[:, 0] if first else 1 - fraction[:, 0]
                weight_y = fraction[:, 1] if second else 1 - fraction[:, 1]
                value = value + weight_x * weight_y * table[index]
        return value


class _LookUp(torch.autograd.Function):
    """The native lookup of 32-bit points and tables."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, tables: Tensor, levels: tuple[np.ndarray, ...]) -> Tensor:
        points, tables = points.contiguous(), tables.contiguous()
        features = points.new_empty(len(points), len(PLANES) * len(levels[0]))
        native.triplane_forward(points, tables, levels, features)
        ctx.save_for_backward(points, tables)
        ctx.levels = levels
        return features

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
        points, tables = ctx.saved_tensors
        by_points = torch.empty_like(points) if ctx.needs_input_grad[0] else None
        by_tables = torch.empty_like(tables) if ctx.needs_input_grad[1] else None
        native.triplane_backward(points, tables, ctx.levels, slopes[0].contiguous(), by_tables, by_points)
        return by_points, by_tables, None
