"""What the recording shows behind the head: torso and neck as filmed, the head taken out, the gap filled.

The published person-specific methods compose the head over this picture of the same frame (AD-NeRF's preparation, as
TalkingGaussian's released code has it), which is why they cannot speak outside the recording.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from talksplat.frame import Label

TORSO_REACH = 9
"""Pixels that a column's topmost torso colour goes on upwards."""
NECK_REACH = 53
"""The same for the neck: far enough for a chin that rises."""
NECK_DILATION = 3
"""Pixels by which the neck grows up and down before its top is looked for."""
NECK_DEPTH = 4
"""Colours of the neck are taken this far below its top: the edge itself holds some chin."""
FADE = 0.98
"""A filled pixel's brightness against the one below it."""
BLUR, BLUR_SIGMA = 5, 4.0
"""Edge of the blur of the filled neck, and its standard deviation, pixels."""


def recorded_torso(
    image: Float[np.ndarray, "H W 3"], labels: UInt8[np.ndarray, "H W"], plate: Float[np.ndarray, "H W 3"]
) -> Float[np.ndarray, "H W 3"]:
    """The frame ``image`` with its head removed, over the background ``plate``; all sRGB.

    Under the face (not under hair or inner mouth) columns of torso and neck go on upwards and darken.
    """
    face = np.isin(labels, (Label.FACE, Label.LIPS))
    torso = labels == Label.TORSO
    neck = cv2.dilate((labels == Label.NECK).astype(np.uint8), np.ones((3, 1), np.uint8), iterations=NECK_DILATION) > 0
    filled = np.where(face[..., None], plate, image)
    under_torso = _grow(filled, image, torso, face, TORSO_REACH, depth=0)
    under_neck = _grow(filled, image, neck, face, NECK_REACH, depth=NECK_DEPTH)
    soft = cv2.GaussianBlur(filled, (BLUR, BLUR), BLUR_SIGMA)
    filled[under_neck] = soft[under_neck]
    shown = torso | neck | under_torso | under_neck
    return np.where(shown[..., None], filled, plate)


def _grow(
    filled: Float[np.ndarray, "H W 3"],
    image: Float[np.ndarray, "H W 3"],
    part: Bool[np.ndarray, "H W"],
    face: Bool[np.ndarray, "H W"],
    reach: int,
    depth: int,
) -> Bool[np.ndarray, "H W"]:
    """Paint the columns of ``part`` whose top touches the face upwards into ``filled``; returns where.

    ``depth`` pixels below its top a column's colour is taken, and from there on it is painted ``reach`` pixels far.
    """
    painted = np.zeros(part.shape, bool)
    top, columns = part.argmax(0), np.arange(part.shape[1])
    touches = part.any(0) & (top > 0) & face[np.maximum(top - 1, 0), columns]
    columns, top = columns[touches], top[touches]
    start = top + np.minimum(part.sum(0)[touches] - 1, depth)
    colors = image[start, columns]
    for step in range(reach):
        rows = start - step
        inside = rows >= 0
        filled[rows[inside], columns[inside]] = colors[inside] * FADE**step
        painted[rows[inside], columns[inside]] = True
    return painted
