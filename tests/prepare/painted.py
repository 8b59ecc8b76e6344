"""A person painted flat around exact landmarks, with the exact label map: ground truth for the masks."""

from dataclasses import dataclass

import numpy as np

from talksplat.frame import Label
from talksplat.landmarks import INNER_LIPS, OUTER_LIPS
from talksplat.prepare.headpose import canonical_face
from talksplat.prepare.outline import OVAL, filled

GROUND = np.array([90, 120, 150])
SKIN, LIP, TONGUE, TOOTH = (205, 155, 130), (180, 80, 80), (90, 30, 30), (225, 220, 210)
EYES = 0.22
"""Distance of the outer eye corners by the picture's edge."""
DARK, BLOND, NAVY, GREEN = (50, 38, 32), (170, 140, 90), (45, 45, 60), (40, 110, 60)


@dataclass(frozen=True)
class Looks:
    """What a painted person is like."""

    hair: tuple[int, int, int] | None = DARK
    """None for a bald head."""
    clothes: tuple[int, int, int] | None = GREEN
    """None for a head and neck alone."""
    long: bool = False
    opening: float = 0.012
    """Gap of the lips, metres."""
    teeth: bool = False
    size: int = 256


@dataclass(frozen=True)
class Painting:
    picture: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray


def face_points(opening: float, shift: float, size: int) -> np.ndarray:
    """The canonical face seen from the front, its lower lip moved until the gap is ``opening`` metres; pixels."""
    face = canonical_face().copy()
    lower = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 95, 88, 178, 87, 14, 317, 402, 318, 324]
    mouth = face[[61, 291, 78, 308], 0]
    reach = 1 - (face[lower, 0] / np.abs(mouth).max()) ** 2
    face[lower, 1] += (opening - (face[14, 1] - face[13, 1])) * np.clip(reach, 0, 1)
    points = np.zeros((478, 3), np.float32)
    points[:468] = face * (EYES * size / 0.0889)
    points[:, :2] += [size / 2 + shift, 0.43 * size]
    return points


def paint(looks: Looks, shift: float = 0.0, seed: int = 0) -> Painting:
    """One frame; ``shift`` moves the head sideways, pixels."""
    size, chance = looks.size, np.random.default_rng(seed)
    points = face_points(looks.opening, shift, size)
    rows, columns = np.mgrid[:size, :size] + 0.5
    middle = points[[127, 356], 0].mean()
    top, chin = points[10, 1], points[152, 1]
    width, height = np.ptp(points[list(OVAL), 0]), chin - top
    picture = np.broadcast_to(GROUND, (size, size, 3)).astype(float)
    labels = np.zeros((size, size), np.uint8)

    def put(label: Label, where: np.ndarray, color: tuple[int, int, int]) -> None:
        labels[where] = label
        picture[where] = color

    if looks.clothes is not None:
        slope = np.abs(columns - size / 2) * 0.25
        put(Label.TORSO, rows > chin + 0.22 * height + slope, looks.clothes)
    collar = rows < chin + 0.28 * height if looks.clothes is not None else rows < size
    put(Label.NECK, (np.abs(columns - middle) < 0.3 * width) & (rows > chin - 0.3 * height) & collar, SKIN)
    skull = ((columns - middle) / (0.56 * width)) ** 2 + ((rows - top - 0.35 * height) / (0.62 * height)) ** 2 < 1
    upper = skull & (rows < top + 0.45 * height)
    if looks.hair is None:
        put(Label.FACE, upper, SKIN)
    else:
        streaks = np.zeros((size, size), bool)
        if looks.long:
            side = np.abs(columns - middle)
            streaks = (side > 0.4 * width) & (side < 0.75 * width) & (rows > top) & (rows < size)
        hair = upper | streaks
        put(Label.HAIR, hair, looks.hair)
        picture[hair] += chance.normal(0, 14, (hair.sum(), 1))
    put(Label.FACE, filled(points[list(OVAL), :2], size), SKIN)
    put(Label.LIPS, filled(points[list(OUTER_LIPS), :2], size), LIP)
    if looks.opening > 0.004:
        mouth = filled(points[list(INNER_LIPS), :2], size)
        put(Label.MOUTH, mouth, TONGUE)
        if looks.teeth:
            put(Label.TEETH, mouth & (rows < points[13, 1] + 0.4 * (points[14, 1] - points[13, 1])), TOOTH)
    # Light from one side, and the camera's noise.
    picture = picture * (1.06 - 0.12 * columns[..., None] / size) + chance.normal(0, 2, picture.shape)
    return Painting(picture.clip(0, 255).astype(np.uint8), labels, points)


def clip(looks: Looks, frames: int) -> list[Painting]:
    """A head that sways."""
    return [paint(looks, shift=6 * np.sin(n / 4), seed=n) for n in range(frames)]
