"""Where in a picture a loss looks closely."""

import torch
from torch import Tensor

from talksplat.camera import Camera
from talksplat.frame import Frame

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""MediaPipe's landmarks around the lips."""
FACE_OVAL = (10, 297, 284, 389, 454, 361, 397, 378, 152, 149, 172, 132, 234, 162, 54, 67)
"""Landmarks around the face, forehead to chin."""


def lip_square(landmarks: Tensor, camera: Camera, margin: float = 1.25) -> tuple[slice, slice]:
    """Rows and columns of the square around the outer lips, clipped to the picture (never empty)."""
    points = landmarks[list(OUTER_LIPS)]
    low, high = points.amin(0), points.amax(0)
    center, half = (low + high) / 2, float((high - low).amax()) / 2 * margin
    return _square(float(center[0]), float(center[1]), max(2 * int(half), 8), camera)


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


def _square(x: float, y: float, edge: int, camera: Camera) -> tuple[slice, slice]:
    """A square of ``edge`` pixels around (x, y), moved inside the picture and clipped to it."""
    edge = min(edge, camera.height, camera.width)
    left = min(max(int(x - edge / 2), 0), camera.width - edge)
    top = min(max(int(y - edge / 2), 0), camera.height - edge)
    return slice(top, top + edge), slice(left, left + edge)
