"""What face landmarks tell: distance of two mouths, lip opening and width. Numbers of MediaPipe's 478 landmarks.

Landmark arrays hold pixels; a frame in which no face was found is NaN throughout, and so is every figure of it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.landmarks import EYE_CORNERS, EYELIDS, LIPS

Landmarks = Float[np.ndarray, "T 478 axes"]


def interocular(landmarks: Landmarks) -> Float[np.ndarray, " T"]:
    """Distance of the outer eye corners in the picture, pixels."""
    return _distance(landmarks, *EYE_CORNERS)


def typical_interocular(landmarks: Landmarks) -> float:
    """The clip's median distance of the outer eye corners, pixels; NaN where no frame has a face."""
    distances = interocular(landmarks)
    known = distances[np.isfinite(distances)]
    return float(np.median(known)) if len(known) else float("nan")


def lip_opening(landmarks: Landmarks) -> Float[np.ndarray, " T"]:
    """Distance of the inner lips (13-14) by the clip's median distance of the outer eye corners.

    The median, not the frame's own distance: a turned head must not open the mouth.
    """
    return _distance(landmarks, 13, 14) / typical_interocular(landmarks)


def lip_width(landmarks: Landmarks) -> Float[np.ndarray, " T"]:
    """Distance of the mouth's inner corners (78-308) by the clip's median distance of the outer eye corners."""
    return _distance(landmarks, 78, 308) / typical_interocular(landmarks)


def eye_area(landmarks: Landmarks) -> Float[np.ndarray, " T"]:
    """Mean area between the lids of both eyes by the squared clip's median distance of the outer eye corners."""
    areas = [polygon_area(landmarks[:, rim, :2]) for rim in EYELIDS]
    return np.mean(areas, axis=0) / typical_interocular(landmarks) ** 2


def polygon_area(rim: Float[np.ndarray, "T K 2"]) -> Float[np.ndarray, " T"]:
    """Areas of polygons."""
    following = np.roll(rim, -1, axis=1)
    return np.abs((rim[..., 0] * following[..., 1] - rim[..., 1] * following[..., 0]).sum(1)) / 2


def mouth_distance(rendered: Landmarks, true: Landmarks) -> Float[np.ndarray, " T"]:
    """LMD of every frame: mean distance of the lip landmarks after each mouth is centred on its mean, pixels.

    As published (Chen et al. 2018; TalkingGaussian's ``metrics.py``), with MediaPipe's 40 lip landmarks in place of
    the 20 of the 68-point layout. Pixels depend on the face's size in the picture: give the relative figure too.
    """
    first, second = (landmarks[:, LIPS, :2] for landmarks in (rendered, true))
    first = first - first.mean(1, keepdims=True)
    second = second - second.mean(1, keepdims=True)
    return np.linalg.norm(first - second, axis=-1).mean(1)


def relative_mouth_distance(rendered: Landmarks, true: Landmarks) -> Float[np.ndarray, " T"]:
    """:func:`mouth_distance` by the true clip's median distance of the outer eye corners, in percent of it."""
    return 100 * mouth_distance(rendered, true) / typical_interocular(true)


def _distance(landmarks: Landmarks, first: int, second: int) -> Float[np.ndarray, " T"]:
    return np.linalg.norm(landmarks[:, first, :2] - landmarks[:, second, :2], axis=-1)
