"""The square part of the picture that becomes the portrait: head and shoulders, the same for the whole clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from talksplat.errors import UnsuitableFace
from talksplat.landmarks import EYE_CORNERS

LEAST_EYE_DISTANCE = 32.0
"""Pixels of the source between the outer eye corners, clip median. On clips scaled down to it, lip opening and width
still correlate with those of the full size by 0.98; at half of it width falls to 0.86. The 512 pixel crop is then
enlarged nearly four times."""
EDGE = 2.1
"""Least edge of the crop by the face's height, brow to chin; crops of the literature have 1.8 to 2."""
HAIR = 0.6
"""Room over the landmarks, which end at the hairline, by the face's height."""
SHOULDERS = 0.5
"""Room below the chin."""
SIDES = 0.5
"""Room left and right of the landmarks, for hair and ears."""
WHOLE = 0.85
"""A square picture is kept whole when the crop would take at least this part of its edge."""


@dataclass(frozen=True)
class Crop:
    """A square of the source picture, pixels."""

    left: int
    top: int
    edge: int

    def apply(self, picture: UInt8[np.ndarray, "H W 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The cropped picture at ``size`` pixels: area averages when it shrinks, Lanczos when it grows."""
        part = np.ascontiguousarray(picture[self.top : self.top + self.edge, self.left : self.left + self.edge])
        if self.edge == size:
            return part
        import cv2

        how = cv2.INTER_AREA if size < self.edge else cv2.INTER_LANCZOS4
        return cv2.resize(part, (size, size), interpolation=how)  # type: ignore[return-value]

    def principal_point(self, height: int, width: int, size: int) -> Float[np.ndarray, "2"]:
        """Where the center of the uncropped ``height`` x ``width`` picture lies in the crop scaled to ``size``."""
        return (np.array([width, height]) / 2 - [self.left, self.top]) * (size / self.edge)

    def points(self, points: Float[np.ndarray, "*batch D"], size: int) -> Float[np.ndarray, "*batch D"]:
        """Points of the source picture (x, y and perhaps z, pixels) in pixels of the crop scaled to ``size``."""
        offset = np.array([self.left, self.top, 0], points.dtype)[: points.shape[-1]]
        return (points - offset) * points.dtype.type(size / self.edge)


def square_crop(landmarks: Float[np.ndarray, "N 478 _"], height: int, width: int) -> Crop:
    """The crop that holds head and shoulders in all of the ``N`` sampled frames (landmarks in pixels of the source).

    Square pictures that are such a crop already are kept whole. The crop is never larger than the picture.

    Raises:
        UnsuitableFace: the outer eye corners are less than 32 pixels apart (median over the frames).
    """
    points = np.asarray(landmarks, np.float64)[:, :, :2]
    check_face_size(points)
    low, high = points.min(1), points.max(1)
    face = float(np.median(np.ptp(points[:, :, 1], axis=1)))
    # A frame in a hundred may be a false detection; it must not widen the crop of all.
    left, top = np.quantile(low, 0.01, axis=0) - face * np.array([SIDES, HAIR])
    right, bottom = np.quantile(high, 0.99, axis=0) + face * np.array([SIDES, SHOULDERS])
    wanted = max(right - left, bottom - top, EDGE * face)
    if height == width and wanted >= WHOLE * width:
        return Crop(0, 0, width)
    edge = min(round(wanted), height, width)
    return Crop(_within((left + right - edge) / 2, width - edge), _within(top, height - edge), edge)


def check_face_size(points: Float[np.ndarray, "N 478 2"]) -> float:
    """Median distance of the outer eye corners, pixels of the source.

    Raises:
        UnsuitableFace: it is under 32 pixels.
    """
    first, second = EYE_CORNERS
    distance = float(np.median(np.linalg.norm(points[:, first] - points[:, second], axis=1)))
    if distance < LEAST_EYE_DISTANCE:
        raise UnsuitableFace(
            f"the face is too small: {distance:.0f} pixels between the outer eye corners; "
            f"expected at least {LEAST_EYE_DISTANCE:.0f}",
            hint="use a video of higher resolution or one taken nearer to the face",
        )
    return distance


def _within(start: float, room: int) -> int:
    return min(max(round(start), 0), room)
