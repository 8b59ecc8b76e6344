"""Upper-face action units, eye opening and mouth measures from landmarks and blendshapes; lips are never smoothed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from talksplat.errors import UnsuitableFace
from talksplat.landmarks import BLENDSHAPES, EYE_CORNERS, EYELIDS
from talksplat.metrics.face import polygon_area

ACTION_UNITS = ("AU1", "AU4", "AU5", "AU6", "AU7", "AU25", "AU45")
SCALE = 5.0
"""OpenFace's intensities go from 0 to 5."""
SOURCES = {
    "AU1": ("browInnerUp",),
    "AU4": ("browDownLeft", "browDownRight"),
    "AU5": ("eyeWideLeft", "eyeWideRight"),
    "AU6": ("cheekSquintLeft", "cheekSquintRight"),
    "AU7": ("eyeSquintLeft", "eyeSquintRight"),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}
"""Blendshapes whose mean, five times, is the unit."""
WIDE_OPEN = 0.35
"""Inner-lip opening, by the distance of the outer eye corners, that counts as 5 in AU25."""
INNER_MIDDLES, LIP_CORNERS, OUTER_MIDDLES = (13, 14), (78, 308), (0, 17)


def action_units(
    blendshapes: Float32[np.ndarray, "T 52"], landmarks: Float32[np.ndarray, "T 478 3"]
) -> Float32[np.ndarray, "T 7"]:
    """AU1, 4, 5, 6, 7, 25, 45 on OpenFace's scale of 0 to 5, each less the clip's 5th percentile and at least 0.

    All but AU25 are five times the mean of their left and right blendshapes (:data:`SOURCES`). AU25 is the inner-lip
    opening by the clip's median distance of the outer eye corners, with 5 at :data:`WIDE_OPEN`; it is a fixed scale,
    so that the same opening is the same number in every clip.
    """
    units = np.empty((len(landmarks), len(ACTION_UNITS)), np.float32)
    for column, unit in enumerate(ACTION_UNITS):
        if unit == "AU25":
            units[:, column] = SCALE * mouth_measures(landmarks)[:, 0] / WIDE_OPEN
        else:
            units[:, column] = SCALE * blendshapes[:, [BLENDSHAPES.index(name) for name in SOURCES[unit]]].mean(1)
    return np.clip(units - np.quantile(units, 0.05, axis=0), 0, SCALE).astype(np.float32)


def eye_opening(landmarks: Float32[np.ndarray, "T 478 3"]) -> Float32[np.ndarray, " T"]:
    """Mean area between the lids of both eyes by the squared distance of the outer eye corners; 95th percentile 1.

    One factor of that distance is taken in the picture and one in space: a turn to the side shortens the area and the
    distance in the picture alike, so the opening does not change with it.
    """
    area = np.mean([polygon_area(landmarks[:, rim, :2]) for rim in EYELIDS], axis=0)
    square = _distance(landmarks[..., :2], EYE_CORNERS) * _distance(landmarks, EYE_CORNERS)
    opening = area / np.maximum(square, 1e-9)
    return (opening / max(float(np.quantile(opening, 0.95)), 1e-9)).astype(np.float32)


def mouth_measures(landmarks: Float32[np.ndarray, "T 478 3"]) -> Float32[np.ndarray, "T 3"]:
    """Inner-lip opening (13-14), width (78-308), outer opening (0-17) by the clip's median distance 33-263.

    Raises:
        UnsuitableFace: that distance is 0 or not a number.
    """
    scale = float(np.median(_distance(landmarks[..., :2], EYE_CORNERS)))
    if not scale > 0:
        raise UnsuitableFace(
            f"the outer eye corners are {scale} pixels apart; expected a positive distance",
            hint="use a clip in which the face is seen",
        )
    pairs = (INNER_MIDDLES, LIP_CORNERS, OUTER_MIDDLES)
    return np.stack([_distance(landmarks[..., :2], pair) / scale for pair in pairs], 1).astype(np.float32)


def _distance(points: np.ndarray, pair: tuple[int, int]) -> Float[np.ndarray, " T"]:
    return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=-1)
