"""Training frames that stand in for a test frame: what a lookup, without any learning, would show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

HEAD_CORNERS = 0.08
"""Half edge of the cube whose corners stand for a head, metres."""
CHUNK = 64


def nearest_poses(
    head_to_camera: Float[Tensor, "T 4 4"], train: Sequence[int], test: Sequence[int]
) -> Int[Tensor, " test"]:
    """For every test frame the training frame whose head is placed most alike.

    The distance of two poses is the mean distance of the corners of a head-sized cube under both, so that turning
    and moving weigh as they do on the head.
    """
    signs = torch.tensor([-1.0, 1.0])
    corners = torch.cartesian_prod(signs, signs, signs) * HEAD_CORNERS
    placed = torch.einsum("tij,nj->tni", head_to_camera[:, :3, :3], corners) + head_to_camera[:, None, :3, 3]
    known, asked = placed[list(train)], placed[list(test)]
    return _nearest(known.flatten(1), asked.flatten(1), train)


def nearest_speech(
    window: Callable[[int], Float[Tensor, "feature step"]], train: Sequence[int], test: Sequence[int]
) -> Int[Tensor, " test"]:
    """For every test frame the training frame whose speech window sounds most alike (Euclidean distance)."""
    known = torch.stack([window(frame).flatten() for frame in train])
    asked = torch.stack([window(frame).flatten() for frame in test])
    return _nearest(known, asked, train)


def _nearest(
    known: Float[Tensor, "train D"], asked: Float[Tensor, "test D"], frames: Sequence[int]
) -> Int[Tensor, " test"]:
    rows = torch.cat([torch.cdist(chunk, known).argmin(1) for chunk in asked.split(CHUNK)])
    return torch.tensor(list(frames))[rows]
