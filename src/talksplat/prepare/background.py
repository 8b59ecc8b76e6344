"""The clean background plate: what is behind the person, seen when the person was not in front of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from talksplat.frame import Label

SAMPLES = 60
"""Frames looked at; memory does not grow with the clip."""
ROWS = 64
"""Rows worked on at a time."""
CLEARANCE = 1 / 42
"""Distance from the person, by the picture's edge, from which a pixel is surely background: 12 pixels of 512."""
OFTEN = 0.05
"""Part of the sampled frames that must show a pixel free: what is free for a moment is a hole in a mask."""
LEAST_PIECE = 0.005
"""Part of the picture from which a piece of background that does not touch its border is one."""
TIGHT = 1 / 128
"""Distance that has to do where the person never leaves more: 4 pixels of 512."""

Plate = UInt8[np.ndarray, "H W 3"]


def background_plate(
    pictures: Callable[[int], Plate], labels: Callable[[int], UInt8[np.ndarray, "H W"]], count: int
) -> Plate:
    """The median color of every pixel over the frames (spread over the clip) that show it well away from the person.

    Where the person never leaves that much room, the frames that leave least count; what is never seen at all is
    filled smoothly from around it, so that nothing of the person's colors is left as a ghost.
    """
    indices = np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).astype(int)).tolist()
    shown = np.stack([pictures(index) for index in indices])
    size = shown.shape[1]
    room = np.stack([_room(labels(index)) for index in indices])
    plate, seen = _median(shown, room > CLEARANCE * size)
    near, near_seen = _median(shown, room > TIGHT * size)
    fallback = near_seen & ~seen
    plate[fallback] = near[fallback]
    return fill_unseen(plate, seen | near_seen)


def _room(labels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Distance of every pixel from the person, pixels, up to 255."""
    import cv2

    free = (labels == Label.BACKGROUND).astype(np.uint8)
    if free.all():
        return np.full(labels.shape, 255, np.uint8)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
    kept = stats[:, cv2.CC_STAT_AREA] >= LEAST_PIECE * free.size
    kept[np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))] = True
    kept[0] = False
    free = kept[pieces].astype(np.uint8)
    return np.minimum(cv2.distanceTransform(free, cv2.DIST_L2, 5), 255).astype(np.uint8)


def _median(
    pictures: UInt8[np.ndarray, "N H W 3"], valid: Bool[np.ndarray, "N H W"]
) -> tuple[Plate, Bool[np.ndarray, "H W"]]:
    """Median over the valid frames of every pixel, and where there are enough of them."""
    count = valid.sum(0)
    enough = count >= max(1, OFTEN * len(pictures))
    plate = np.zeros(pictures.shape[1:], np.uint8)
    middle = np.maximum(count - 1, 0) // 2
    for top in range(0, pictures.shape[1], ROWS):
        rows = slice(top, top + ROWS)
        # Invalid entries sort to the end, behind the largest color.
        colors = np.where(valid[:, rows, :, None], pictures[:, rows], np.uint16(256))
        colors.sort(0)
        chosen = np.take_along_axis(colors, middle[None, rows, :, None], 0)[0]
        plate[rows] = np.where(enough[rows, :, None], chosen, 0)
    return plate, enough


def fill_unseen(plate: Plate, seen: Bool[np.ndarray, "H W"]) -> Plate:
    """The plate with unseen pixels filled from the seen ones: averages over ever larger cells, pulled and pushed.

    (Gortler et al., The Lumigraph, 1996, section 3.4.3.)
    """
    if not seen.any():
        return np.full_like(plate, 128)
    filled = _pull_push(plate.astype(np.float32), seen.astype(np.float32))
    return np.where(seen[..., None], plate, np.clip(np.round(filled), 0, 255).astype(np.uint8))


def _pull_push(
    colors: Float32[np.ndarray, "H W 3"], weight: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W 3"]:
    import cv2

    height, width = weight.shape
    if min(height, width) <= 1 or weight.min() >= 1:
        return colors
    half = ((width + 1) // 2, (height + 1) // 2)
    less = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    mean = (
        cv2.resize(colors * weight[..., None], half, interpolation=cv2.INTER_AREA) / np.maximum(less, 1e-6)[..., None]
    )
    coarser = _pull_push(mean, np.minimum(4 * less, 1))
    around = cv2.resize(coarser, (width, height), interpolation=cv2.INTER_LINEAR)
    return colors * weight[..., None] + around * (1 - weight[..., None])
