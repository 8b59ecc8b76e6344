"""The label map of every frame: background, hair, face, neck, torso, lips, inner mouth and teeth.

The person's outline comes from a segmentation network, the parts from colors, textures and places learned over the
clip, lips and mouth from the landmarks, all of it steadied in time and refined along the edges of the picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from talksplat.frame import Label
from talksplat.landmarks import EYE_CORNERS, INNER_LIPS, OUTER_LIPS
from talksplat.prepare.matte import GRID, GuidedFilter, Picture, Segmenter, coarse, read_segmenter, speaker_only
from talksplat.prepare.outline import filled
from talksplat.prepare.parts import PARTS, PartModel, learn_parts
from talksplat.prepare.view import View, view_of
from talksplat.progress import Reporter
from talksplat.storage import write_bytes

SAMPLES = 20
"""Frames from which the parts are learned."""
RUN = 24
"""Frames labeled in one go by one thread; its neighbors at both ends are looked at twice."""
LIP_MIDDLES = (13, 14)
OPEN = 0.03
"""Gap of the inner lips by the distance of the outer eye corners from which the mouth is open: about 2.5 mm."""
TEETH_CONTRAST = 25.0
"""Least difference between teeth and the rest of the mouth in whiteness (8 bit lightness less redness)."""


def write_masks(
    pictures: Callable[[int], Picture],
    landmarks: Float[np.ndarray, "T 478 3"],
    folder: Path,
    *,
    workers: int = 2,
    reporter: Reporter | None = None,
) -> None:
    """Write the label map of every frame to ``folder/%06d.png`` on ``workers`` threads.

    ``pictures`` gives the square sRGB frames and is called from several threads; ``landmarks`` are in their pixels.
    The result does not depend on ``workers``. Files that are there already are kept.

    Raises:
        MissingWeights: there is no segmenter.
    """
    reporter = reporter or Reporter(quiet=True)
    count = len(landmarks)
    missing = [index for index in range(count) if not (folder / f"{index:06d}.png").exists()]
    if not missing:
        return
    labeler = learn_labels(pictures, landmarks)
    runs = [[n for n in missing if start <= n < start + RUN] for start in range(0, count, RUN)]
    todo = [range(run[0], run[-1] + 1) for run in runs if run]
    with ThreadPoolExecutor(workers) as threads, reporter.bar("masks", sum(map(len, todo))) as bar:
        lock = threading.Lock()

        def label(run: range) -> None:
            for index, labels in zip(run, labeler.run(pictures, landmarks, run), strict=True):
                write_bytes(folder / f"{index:06d}.png", encode_labels(labels))
                with lock:
                    bar.advance()

        # The results are empty; asking for them raises what went wrong in a thread.
        list(threads.map(label, todo))


def encode_labels(labels: UInt8[np.ndarray, "H W"]) -> bytes:
    """A label map as an 8 bit gray PNG."""
    import cv2

    _, data = cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return data.tobytes()


class Labeler:
    """Labels the frames of one clip. Thread safe: every thread has its own segmenter."""

    def __init__(self, parts: PartModel, teeth: float | None) -> None:
        """``teeth`` is the whiteness from which something in the mouth is a tooth, if they can be told at all."""
        self.parts, self.teeth = parts, teeth

    def run(
        self, pictures: Callable[[int], Picture], landmarks: Float[np.ndarray, "T 478 3"], run: range
    ) -> Iterator[np.ndarray]:
        """Yield the label maps of consecutive frames."""
        before, behind = max(run.start - 1, 0), min(run.stop, len(landmarks) - 1)
        coarse_maps: dict[int, np.ndarray] = {}
        shown: dict[int, Picture] = {}
        for index in run:
            near = [min(max(index + step, before), behind) for step in (-1, 0, 1)]
            for frame in near:
                if frame not in coarse_maps:
                    shown[frame] = pictures(frame)
                    coarse_maps[frame] = self._coarse_maps(shown[frame], landmarks[frame])
            steady = median_of_three(*(coarse_maps[frame] for frame in near))
            yield label_map(shown[index], landmarks[index], steady, self.teeth)
            for old in [frame for frame in coarse_maps if frame < index]:
                del coarse_maps[old], shown[old]

    def _coarse_maps(self, picture: Picture, landmarks: np.ndarray) -> Float32[np.ndarray, "4 256 256"]:
        """Probabilities of the person's parts; what is missing to 1 is background."""
        view = look(_segmenter(), picture, landmarks)
        return self.parts.probabilities(view) * view.person


_own = threading.local()


def _segmenter() -> Segmenter:
    """This thread's segmenter: interpreters of networks cannot be shared."""
    if not hasattr(_own, "segmenter"):
        _own.segmenter = read_segmenter()
    return _own.segmenter


def look(segmenter: Segmenter, picture: Picture, landmarks: Float[np.ndarray, "478 3"]) -> View:
    """What segmenter and landmarks tell about a square picture, on the coarse grid."""
    points = landmarks * np.float32(GRID / picture.shape[0])
    seen = segmenter(picture)
    classes = seen if seen.shape[2] > 1 else None
    person = seen[..., 0] if classes is None else 1 - classes[..., 0]
    nose = points[1, :2]
    return view_of(coarse(picture), points, speaker_only(person, (float(nose[0]), float(nose[1]))), classes)


def learn_labels(pictures: Callable[[int], Picture], landmarks: Float[np.ndarray, "T 478 3"]) -> Labeler:
    """The labeler of a clip, from frames spread over it."""
    sampled = np.unique(np.linspace(0, len(landmarks) - 1, SAMPLES).astype(int))
    views, mouths = [], []
    for index in sampled:
        picture = pictures(int(index))
        views.append(look(_segmenter(), picture, landmarks[index]))
        mouths.append(whiteness(picture)[mouth_of(landmarks[index], picture.shape[0])])
    return Labeler(learn_parts(views), teeth_threshold(np.concatenate(mouths)))


def label_map(
    picture: Picture,
    landmarks: Float[np.ndarray, "478 3"],
    maps: Float32[np.ndarray, "4 256 256"],
    teeth: float | None,
) -> UInt8[np.ndarray, "H W"]:
    """The most probable part of every pixel, with lips, mouth and teeth drawn over it."""
    size = picture.shape[0]
    refined = GuidedFilter(picture).refine(list(maps))
    labels = np.full((size, size), Label.BACKGROUND, np.uint8)
    most = 1 - refined.sum(0)
    for label, probability in zip(PARTS, refined, strict=True):
        labels[probability > most] = label
        np.maximum(most, probability, out=most)
    mouth = mouth_of(landmarks, size)
    labels[filled(landmarks[list(OUTER_LIPS), :2], size)] = Label.LIPS
    labels[mouth] = Label.MOUTH
    if teeth is not None and mouth.any():
        labels[mouth & (whiteness(picture) > teeth)] = Label.TEETH
    return labels


def median_of_three(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Entry by entry the one in the middle."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.maximum(low, np.minimum(high, third))


def mouth_of(landmarks: Float[np.ndarray, "478 3"], size: int) -> np.ndarray:
    """The inside of the mouth, "size size" bool; empty while the lips touch."""
    upper, lower = (landmarks[index, :2] for index in LIP_MIDDLES)
    right, left = (landmarks[index] for index in EYE_CORNERS)
    if np.linalg.norm(lower - upper) < OPEN * np.linalg.norm(left - right):
        return np.zeros((size, size), bool)
    return filled(landmarks[list(INNER_LIPS), :2], size)


def whiteness(picture: Picture) -> Float32[np.ndarray, "H W"]:
    """Lightness less redness and yellowness (Lab, 8 bit scale): teeth are light and gray, tongue and gums are not."""
    import cv2

    lightness, a, b = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2Lab).astype(np.float32))
    return lightness - np.abs(a - 128) - 0.5 * np.abs(b - 128)


def teeth_threshold(values: Float32[np.ndarray, " pixels"]) -> float | None:
    """Otsu's threshold of the whiteness in the mouths of a clip; None where it does not part teeth from the rest."""
    if len(values) < 50:
        return None
    ordered = np.sort(values.astype(np.float64))
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    low = sums[:-1] / below
    high = (sums[-1] - sums[:-1]) / (len(ordered) - below)
    best = int((below * (len(ordered) - below) * (high - low) ** 2).argmax())
    return float((ordered[best] + ordered[best + 1]) / 2) if high[best] - low[best] > TEETH_CONTRAST else None
