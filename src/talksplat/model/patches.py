"""Where in a picture a loss looks closely."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from talksplat.camera import Camera
from talksplat.frame import Frame
from talksplat.landmarks import EYELIDS, OUTER_LIPS

FACE_OVAL = (10, 297, 284, 389, 454, 361, 397, 378, 152, 149, 172, 132, 234, 162, 54, 67)
"""Landmarks around the face, forehead to chin."""


def lip_square(landmarks: Tensor, camera: Camera, margin: float = 1.25) -> tuple[slice, slice]:
    """Rows and columns of the square around the outer lips, clipped to the picture (never empty)."""
    return _square_around(landmarks[list(OUTER_LIPS)], camera, margin)


def eye_squares(landmarks: Tensor, camera: Camera, margin: float = 1.25) -> list[tuple[slice, slice]]:
    """The same around each eye, open or closed."""
    return [_square_around(landmarks[list(rim)], camera, margin) for rim in EYELIDS]


def perceptual_patch(frame: Frame, edge: int, whole: bool, generator: torch.Generator) -> tuple[slice, slice]:
    """A patch for the perceptual loss: on the mouth half of the time, else somewhere on the face or picture."""
    chance = torch.rand(3, generator=generator)
    edge = min(edge, frame.camera.height, frame.camera.width)
    if chance[0] < 0.5:
        center = frame.landmarks[list(OUTER_LIPS)].mean(0) + (chance[1:] - 0.5) * edge * 0.5
        return _square(float(center[0]), float(center[1]), edge, frame.camera)
    if whole and chance[0] > 0.75:
        size = torch.tensor([frame.camera.width, frame.camera.height])
        center = chance[1:] * size
    else:
        points = frame.landmarks[list(FACE_OVAL)]
        low, high = points.amin(0), points.amax(0)
        reach = high - low
        center = low - 0.2 * reach + chance[1:] * 1.4 * reach
    return _square(float(center[0]), float(center[1]), edge, frame.camera)


def tiled_distance(
    distance: Callable[[Tensor, Tensor], Tensor],
    picture: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    edge: int,
    most: int,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean ``distance`` of the tiles of ``edge`` pixels, counted from the top left; what is left over is dropped.

    ``distance`` takes batches [B edge edge 3], answers with their mean, and is 0 for equal tiles, which are therefore
    not asked about. With ``most`` > 0 only so many of the others, drawn by ``generator``, stand for the rest.
    """
    edge = min(edge, *picture.shape[:2])
    mine, theirs = _tiles(picture, edge), _tiles(target, edge)
    places = torch.nonzero((mine.detach() != theirs).flatten(1).any(1)).squeeze(1)
    if not len(places):
        return picture.sum() * 0
    share = len(places) / len(mine)
    if most and most < len(mine):
        places = places[torch.randperm(len(places), generator=generator)[:most]]
    return distance(mine[places], theirs[places]) * share


def _tiles(picture: Float[Tensor, "H W 3"], edge: int) -> Float[Tensor, "B edge edge 3"]:
    """Whole tiles of ``edge`` pixels, row by row."""
    rows, columns = picture.shape[0] // edge, picture.shape[1] // edge
    grid = picture[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge, 3)
    return grid.permute(0, 2, 1, 3, 4).reshape(-1, edge, edge, 3)


def _square_around(points: Float[Tensor, "n 2"], camera: Camera, margin: float) -> tuple[slice, slice]:
    low, high = points.amin(0), points.amax(0)
    center, half = (low + high) / 2, float((high - low).amax()) / 2 * margin
    return _square(float(center[0]), float(center[1]), max(2 * int(half), 8), camera)


def _square(x: float, y: float, edge: int, camera: Camera) -> tuple[slice, slice]:
    """A square of ``edge`` pixels around (x, y), moved inside the picture and clipped to it."""
    edge = min(edge, camera.height, camera.width)
    left = min(max(int(x - edge / 2), 0), camera.width - edge)
    top = min(max(int(y - edge / 2), 0), camera.height - edge)
    return slice(top, top + edge), slice(left, left + edge)
