"""One picture of a person on the coarse grid, with what the landmarks tell about its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from talksplat.prepare.matte import GRID
from talksplat.prepare.outline import CORE, FEATURES, OVAL, HeadFrame, below_jaw, filled, hull

BINS = 32
"""Bins of each axis of the color histograms (Lab)."""
PATCH = 5
"""Edge of the window in which a pixel's color is averaged and its texture measured, pixels of the grid."""
GRAINS = 16
"""Bins of the texture histograms: half octaves of the lightness's deviation in the window."""


@dataclass(frozen=True)
class View:
    """One picture on the coarse grid with what the landmarks tell about it."""

    bins: Int32[np.ndarray, "256 256"]
    """Histogram bin of every pixel's color, averaged over its neighbors."""
    grain: Int32[np.ndarray, "256 256"]
    """Histogram bin of its texture: hair is streaky where skin is smooth."""
    chroma: Float32[np.ndarray, "2 256 256"]
    """a and b of Lab, 8 bit scale."""
    person: Float32[np.ndarray, "256 256"]
    classes: Float32[np.ndarray, "256 256 6"] | None
    """The multi-class segmenter's opinion where there is one."""
    landmarks: Float32[np.ndarray, "478 3"]
    """Pixels of the grid."""
    frame: HeadFrame
    places: Float32[np.ndarray, "256 256 2"]
    """(u, v) of every pixel."""
    below: Float32[np.ndarray, "256 256"]
    """Distance below the jaw line, units."""
    oval: Bool[np.ndarray, "256 256"]
    core: Bool[np.ndarray, "256 256"]
    """The part of the oval that is face even where its color is hair's."""
    skin: Bool[np.ndarray, "256 256"]
    """The core without brows, eyes and lips."""

    def level(self, landmark: int) -> float:
        """v of a landmark."""
        return float(self.frame.to_head(self.landmarks[landmark, :2])[1])


def view_of(
    picture: UInt8[np.ndarray, "256 256 3"],
    landmarks: Float[np.ndarray, "478 3"],
    person: Float32[np.ndarray, "256 256"],
    classes: Float32[np.ndarray, "256 256 6"] | None = None,
) -> View:
    """Prepare a coarse sRGB picture; ``landmarks`` in pixels of the grid."""
    mean, deviation = _patches(picture)
    level = np.minimum(mean * (BINS / 256), BINS - 1).astype(np.int32)
    frame = HeadFrame.of(landmarks)
    places = frame.grid(GRID)
    core = filled(hull(landmarks[list(CORE), :2]), GRID)
    features = sum(filled(hull(landmarks[list(feature), :2]), GRID) for feature in FEATURES) > 0
    return View(
        bins=(level[..., 0] * BINS + level[..., 1]) * BINS + level[..., 2],
        grain=np.clip(2 * np.log2(2 * deviation), 0, GRAINS - 1).astype(np.int32),
        chroma=np.ascontiguousarray(mean[..., 1:].transpose(2, 0, 1)),
        person=person,
        classes=classes,
        landmarks=np.asarray(landmarks, np.float32),
        frame=frame,
        places=places,
        below=below_jaw(frame, landmarks, places),
        oval=filled(landmarks[list(OVAL), :2], GRID),
        core=core,
        skin=core & ~features,
    )


def _patches(picture: UInt8[np.ndarray, "256 256 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean Lab color and deviation of lightness around every pixel, of the evenest window that holds it.

    Windows across an edge would show a texture that neither side has (Kuwahara et al. 1976).
    """
    import cv2

    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2Lab).astype(np.float32)
    mean = cv2.blur(lab, (PATCH, PATCH))
    variance = cv2.blur(lab[..., 0] ** 2, (PATCH, PATCH)) - mean[..., 0] ** 2
    reach = PATCH // 2
    best, least = mean, variance
    for down, right in ((reach, reach), (reach, -reach), (-reach, reach), (-reach, -reach)):
        shifted = _shifted(variance, down, right)
        evener = shifted < least
        least = np.where(evener, shifted, least)
        best = np.where(evener[..., None], _shifted(mean, down, right), best)
    return best, np.sqrt(np.maximum(least, 0.25))


def _shifted(values: np.ndarray, down: int, right: int) -> np.ndarray:
    """``values`` moved, the border repeated."""
    line = np.arange(GRID)
    return values[np.clip(line - down, 0, GRID - 1)][:, np.clip(line - right, 0, GRID - 1)]
