"""Features of a point as the product of three planes at two resolutions (GaussianTalker, Sec. 3.2).

Unlike the hash grids of :mod:`talksplat.model.fields`, a resolution's three samples are multiplied, after K-Planes,
and every cell holds many channels, which lie in one row of one table.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from talksplat import native

PLANES = ((0, 1), (0, 2), (1, 2))
"""Axes of the planes xy, xz and yz."""


class PlaneField(nn.Module):
    """``channels`` numbers a resolution for every point of a box; points outside take the border's value."""

    def __init__(
        self, low: Float[Tensor, "3"], high: Float[Tensor, "3"], resolutions: tuple[int, ...], channels: int
    ) -> None:
        """Planes over the box from ``low`` to ``high`` (metres), started in U(0.1, 0.5) (fact sheet A3)."""
        super().__init__()
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())
        self.resolutions, self.channels = resolutions, channels
        rows = len(PLANES) * sum(edge * edge for edge in resolutions)
        self._edges = np.array(resolutions, np.int32)
        self.table = nn.Parameter(torch.empty(rows, channels).uniform_(0.1, 0.5))

    @property
    def width(self) -> int:
        """Numbers a point."""
        return self.channels * len(self.resolutions)

    def forward(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N width"]:
        """Features of ``points`` (metres). Differentiable in the planes and in the points."""
        place = ((points - self.low) / (self.high - self.low).clamp_min(1e-9)).clamp(0, 1)
        if native.takes(place, self.table) and self.channels % 16 == 0:
            return _Products.apply(place, self.table, self._edges)
        return self.plain(place)

    def plain(self, place: Float[Tensor, "N 3"]) -> Float[Tensor, "N width"]:
        """The same in torch alone from places in [0, 1], on any device: the native pass's specification."""
        rows, weights, first = [], [], 0
        for edge in self.resolutions:
            for plane in PLANES:
                corners, shares = _corners(place[:, list(plane)], edge)
                rows.append(corners + first)
                weights.append(shares)
                first += edge * edge
        samples = F.embedding_bag(torch.cat(rows), self.table, per_sample_weights=torch.cat(weights), mode="sum")
        samples = samples.reshape(len(self.resolutions), len(PLANES), len(place), self.channels)
        return torch.cat(list(samples[:, 0] * samples[:, 1] * samples[:, 2]), 1)


def _corners(place: Float[Tensor, "N 2"], edge: int) -> tuple[Int[Tensor, "N 4"], Float[Tensor, "N 4"]]:
    """The four cells around each place of the unit square and their bilinear weights; corners lie on the border."""
    at = place * (edge - 1)
    cell = at.detach().floor().clamp_max(edge - 2)
    x, y = (at - cell).unbind(1)
    base = (cell[:, 1] * edge + cell[:, 0]).long()
    rows = base[:, None] + torch.tensor([0, 1, edge, edge + 1], device=base.device)
    return rows, torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1)


class _Products(torch.autograd.Function):
    """The native pass of 32-bit places and tables."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, table: Tensor, edges: np.ndarray) -> Tensor:
        places, table = places.contiguous(), table.contiguous()
        features = places.new_empty(len(places), len(edges) * table.shape[1])
        order = torch.empty(len(places), dtype=torch.int32)
        native.planes_forward(places, table, edges, order, features)
        ctx.save_for_backward(places, table, order)
        ctx.edges = edges
        return features

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
        places, table, order = ctx.saved_tensors
        by_places = torch.empty_like(places) if ctx.needs_input_grad[0] else None
        by_table = torch.empty_like(table) if ctx.needs_input_grad[1] else None
        native.planes_backward(places, table, ctx.edges, order, slopes[0].contiguous(), by_table, by_places)
        return by_places, by_table, None
