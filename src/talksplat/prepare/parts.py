"""Hair, face, neck and torso told apart: colors and places of each part, learned from the clip itself.

The parts of a person keep their colors through a clip, and they keep their places on the head. Both are learned from
frames of the whole clip, in a few rounds of expectation and maximization that start from what the landmarks show
beyond doubt; so the same pixel gets the same name in every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from talksplat.frame import Label
from talksplat.prepare.matte import GRID
from talksplat.prepare.outline import BEARD, CHEEKS, CORE, HAIRLINE, NOSE, OVAL, HeadFrame, below_jaw, filled, hull

PARTS = (Label.HAIR, Label.FACE, Label.NECK, Label.TORSO)
HAIR, FACE, NECK, TORSO = range(4)

BINS = 32
"""Bins of each axis of the color histograms (Lab)."""
COLOR_BLUR = 1.2
"""Standard deviation of their smoothing, bins."""
UNSEEN = 0.05
"""Part of a color model spread over all colors: no color is impossible."""
CELLS_PER_UNIT = 16
LAYOUT_LOW = (-4.5, -4.0)
"""(u, v) of the layout's first cell."""
LAYOUT_SHAPE = (176, 144)
"""Rows and columns of the layout: 11 by 9 units."""
LAYOUT_BLUR = 0.15
"""Standard deviation of its smoothing, units."""
SELDOM = 0.03
"""Least probability of any part at any place."""
ROUNDS = 3
BEARDED = 0.35
"""Part of chin and cheeks that has the hair's colors from which there is a beard."""
FEWEST = 200
"""Pixels, over all sampled frames, from which a color model can be learned."""


@dataclass(frozen=True)
class View:
    """One picture on the coarse grid with what the landmarks tell about it."""

    bins: Int[np.ndarray, "256 256"]
    """Histogram bin of every pixel's color."""
    chroma: Float32[np.ndarray, "256 256 2"]
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
    import cv2

    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2Lab)
    level = lab.astype(np.int32) * BINS // 256
    frame = HeadFrame.of(landmarks)
    places = frame.grid(GRID)
    return View(
        bins=(level[..., 0] * BINS + level[..., 1]) * BINS + level[..., 2],
        chroma=lab[..., 1:].astype(np.float32),
        person=person,
        classes=classes,
        landmarks=np.asarray(landmarks, np.float32),
        frame=frame,
        places=places,
        below=below_jaw(frame, landmarks, places),
        oval=filled(landmarks[list(OVAL), :2], GRID),
        core=filled(hull(landmarks[list(CORE), :2]), GRID),
    )


@dataclass(frozen=True)
class PartModel:
    """What is known of a person's parts from the whole clip."""

    palette: Float32[np.ndarray, "4 32768"]
    """Log density of colors relative to the uniform one."""
    layout: Float32[np.ndarray, "4 176 144"]
    """Log probability of the parts at places of the head's frame."""
    bearded: bool

    def probabilities(self, view: View) -> Float32[np.ndarray, "256 256 4"]:
        """Probability of each of :data:`PARTS`, given that a pixel shows the person."""
        score = self.palette[:, view.bins] + _at_places(self.layout, view.frame)
        score = np.ascontiguousarray(np.moveaxis(score, 0, -1))
        if view.classes is not None:
            score = score + np.log(_parts_of_classes(view) + SELDOM)
        score[~allowed(view, self.bearded)] = -np.inf
        score -= score.max(-1, keepdims=True)
        likely = np.exp(score)
        likely /= likely.sum(-1, keepdims=True)
        return _hair_of_scalp(view, likely, self.bearded)


def learn_parts(views: Sequence[View]) -> PartModel:
    """The part model of a clip, from views of frames spread over it."""
    seeds = [_seeds(view, _skin_of(views)) for view in views]
    model = _maximize(views, seeds, bearded=False)
    model = replace(model, bearded=_bearded(views, model))
    for _ in range(ROUNDS):
        expected = [model.probabilities(view) * (view.person > 0.5)[..., None] for view in views]
        model = _maximize(views, expected, bearded=model.bearded)
    return model


def allowed(view: View, bearded: bool) -> Bool[np.ndarray, "256 256 4"]:
    """Which parts the landmarks permit at a pixel; at least one everywhere."""
    v = view.places[..., 1]
    permitted = np.ones((GRID, GRID, 4), bool)
    permitted[..., NECK] = (view.below > 0) & ~view.oval & (view.below < 1.6)
    permitted[..., TORSO] = (view.below > 0) & ~view.oval
    permitted[..., FACE] = (view.below <= 0.02) | view.oval
    permitted[..., HAIR] = ~view.core
    if bearded:
        permitted[..., HAIR] &= ~(view.oval & (v > view.level(NOSE)))
    return permitted


def _seeds(view: View, skin: tuple[np.ndarray, np.ndarray]) -> Float32[np.ndarray, "256 256 4"]:
    """What can be named without knowing the clip's colors, with the parts' names of :data:`PARTS`."""
    person, v, u = view.person > 0.9, view.places[..., 1], view.places[..., 0]
    like_skin = _distance(view.chroma, *skin) < 3
    permitted = allowed(view, bearded=False)
    seeds = np.zeros((GRID, GRID, 4), bool)
    seeds[..., FACE] = view.core
    seeds[..., HAIR] = person & (v < view.level(HAIRLINE) - 0.1) & ~view.oval
    seeds[..., NECK] = person & permitted[..., NECK] & like_skin & (view.below < 0.7) & (np.abs(u) < 0.8)
    seeds[..., TORSO] = person & (view.below > 0.5) & ~like_skin & ~view.oval
    return seeds.astype(np.float32)


def _skin_of(views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse covariance of the cheeks' chroma."""
    spots = [view.chroma[filled(hull(view.landmarks[list(c), :2]), GRID)] for view in views for c in CHEEKS]
    chroma = np.concatenate(spots)
    # Cheeks are evenly lit; the floor is the spread that shadow and blush add elsewhere.
    return np.median(chroma, 0), np.linalg.inv(np.cov(chroma.T) + 9 * np.eye(2))


def _distance(chroma: np.ndarray, mean: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Mahalanobis distance."""
    offset = chroma - mean
    return np.sqrt(np.einsum("...i,ij,...j->...", offset, inverse, offset))


def _maximize(views: Sequence[View], expected: Sequence[np.ndarray], *, bearded: bool) -> PartModel:
    """Colors and places of the parts, given to what extent each pixel belongs to each."""
    counts = np.zeros((4, BINS**3))
    places = np.zeros((4, *LAYOUT_SHAPE))
    for view, weight in zip(views, expected, strict=True):
        cells = _cells(view.places)
        for part in range(4):
            flat = weight[..., part].ravel()
            # A beard has the hair's colors: it must not teach the face's.
            teaches = flat if part != FACE or not bearded else flat * ~_beard_region(view).ravel()
            counts[part] += np.bincount(view.bins.ravel(), teaches, BINS**3)
            places[part] += np.bincount(cells.ravel(), flat, np.prod(LAYOUT_SHAPE)).reshape(LAYOUT_SHAPE)
    return PartModel(_palette(counts), _layout(places), bearded)


def _palette(counts: Float[np.ndarray, "4 bins"]) -> Float32[np.ndarray, "4 bins"]:
    from scipy.ndimage import gaussian_filter

    density = np.stack([gaussian_filter(part.reshape((BINS,) * 3), COLOR_BLUR).ravel() for part in counts])
    total = density.sum(1, keepdims=True)
    # A part that is not there (a bald head's hair) has no colors: even ones, far below those of a part that is.
    density = np.where(total >= FEWEST, density / np.maximum(total, 1) * BINS**3, UNSEEN)
    return np.log((1 - UNSEEN) * density + UNSEEN).astype(np.float32)


def _layout(places: Float[np.ndarray, "4 rows columns"]) -> Float32[np.ndarray, "4 rows columns"]:
    from scipy.ndimage import gaussian_filter

    spread = LAYOUT_BLUR * CELLS_PER_UNIT
    soft = np.stack([gaussian_filter(part, spread) for part in places])
    seen = soft.sum(0)
    # One observation's worth of ignorance: where nothing was seen all parts are equally probable.
    ignorance = 0.05 * seen.max()
    return np.log((soft + ignorance / 4) / (seen + ignorance) + SELDOM).astype(np.float32)


def _cells(places: np.ndarray) -> np.ndarray:
    rows, columns = LAYOUT_SHAPE
    column = np.clip((places[..., 0] - LAYOUT_LOW[0]) * CELLS_PER_UNIT, 0, columns - 1).astype(np.int64)
    row = np.clip((places[..., 1] - LAYOUT_LOW[1]) * CELLS_PER_UNIT, 0, rows - 1).astype(np.int64)
    return row * columns + column


def _at_places(layout: np.ndarray, frame: HeadFrame) -> Float32[np.ndarray, "4 256 256"]:
    """The layout as the pixels of a view see it."""
    import cv2

    corners = frame.to_head(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]], np.float32))
    cells = (corners - LAYOUT_LOW) * CELLS_PER_UNIT - 0.5
    matrix = np.column_stack([cells[1] - cells[0], cells[2] - cells[0], cells[0]]).astype(np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(layout.transpose(1, 2, 0), matrix, (GRID, GRID), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(warped.transpose(2, 0, 1))


def _beard_region(view: View) -> Bool[np.ndarray, "256 256"]:
    return view.oval & (view.places[..., 1] > view.level(NOSE))


def _bearded(views: Sequence[View], model: PartModel) -> bool:
    """Whether chin and lower cheeks have the colors of the hair rather than those of the cheeks."""
    hairy = total = 0
    cheeks = np.zeros((1, BINS**3))
    for view in views:
        for spot in CHEEKS:
            inside = filled(hull(view.landmarks[list(spot), :2]), GRID)
            cheeks[0] += np.bincount(view.bins[inside], minlength=BINS**3)
    skin = _palette(cheeks)[0]
    for view in views:
        for spot in BEARD:
            inside = filled(hull(view.landmarks[list(spot), :2]), GRID)
            bins = view.bins[inside]
            hairy += int((model.palette[HAIR, bins] > skin[bins] + 1).sum())
            total += int(inside.sum())
    return hairy > BEARDED * max(total, 1)


def _hair_of_scalp(view: View, likely: np.ndarray, bearded: bool) -> Float32[np.ndarray, "256 256 4"]:
    """Take hair away where it does not hang together with the scalp: a dark suit is not hair, nor is a beard.

    The way down from the scalp does not lead through the face. A beard's lower edge under the jaw goes to the face.
    """
    import cv2

    hairy = (likely[..., HAIR] > 0.5) & (view.person > 0.4) & ~view.core
    count, pieces = cv2.connectedComponents(hairy.astype(np.uint8), connectivity=4)
    scalp = hairy & (view.places[..., 1] < view.level(HAIRLINE) + 0.35)
    grown = np.zeros(count, bool)
    grown[np.unique(pieces[scalp])] = True
    grown[0] = True
    loose = ~grown[pieces]
    if not loose.any():
        return likely
    result = likely.copy()
    under_chin = loose & bearded & (view.below > 0) & (view.below < 0.25)
    result[..., FACE] = np.where(under_chin, likely[..., FACE] + likely[..., HAIR], likely[..., FACE])
    result[..., HAIR] = np.where(loose, 0, likely[..., HAIR])
    empty = result.sum(-1) < 1e-3
    result[..., TORSO] += empty & (view.below > 0)
    result[..., FACE] += empty & (view.below <= 0)
    return result / np.maximum(result.sum(-1, keepdims=True), 1e-6)


def _parts_of_classes(view: View) -> Float32[np.ndarray, "256 256 4"]:
    """The multi-class segmenter's classes as parts: its body skin is neck or, like clothes and things held, torso."""
    if view.classes is None:
        return np.full((GRID, GRID, 4), 0.25, np.float32)
    hair, body, face, clothes, others = (view.classes[..., index] for index in range(1, 6))
    parts = np.stack([hair, face + body * (view.below <= 0), body, clothes + others], -1)
    return parts / np.maximum(parts.sum(-1, keepdims=True), 1e-6)
