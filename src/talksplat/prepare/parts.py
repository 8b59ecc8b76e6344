"""Hair, face, neck and torso told apart: colors and places of each part, learned from the clip itself.

The parts of a person keep their colors through a clip, and they keep their places on the head. Both are learned from
frames of the whole clip, in a few rounds of expectation and maximization that start from what the landmarks show
beyond doubt; so the same pixel gets the same name in every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from talksplat.frame import Label
from talksplat.prepare.matte import GRID
from talksplat.prepare.outline import HAIRLINE, NOSE, HeadFrame
from talksplat.prepare.view import BINS, GRAINS, View

PARTS = (Label.HAIR, Label.FACE, Label.NECK, Label.TORSO)
HAIR, FACE, NECK, TORSO = range(4)

COLOR_BLUR = 1.2
"""Standard deviation of the color histograms' smoothing, bins."""
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
ROUNDS = 2
LONG = 0.25
"""Area of hair below the jaw line, square units, clip median, from which the hair is long."""
SHORT_END = 0.35
"""How far below the jaw line short hair may reach, units."""
BESIDE = 0.5
"""Distance from the face beyond which, over the jaw's level, a person is hair, units."""
FOREHEAD = 0.4
"""How far over MediaPipe's topmost landmark a high forehead may end, units."""
COLLAR = 0.1
"""Distance from the jaw line that clothes keep, units."""
SHOULDER = 1.6
"""Distance from the middle beyond which, under the jaw's level, a person is clothed shoulder, units."""
FRINGE = 0.1
"""Width under which something of the hair's colors along the face's outline is the background's reflection, units."""
GAP = 3.0
"""Width of gaps between locks that are hair too, pixels of the grid."""
STREAK = 0.18
"""Width under which something of the skin's colors above the forehead is a shine on the hair, units."""
FEWEST = 200
"""Pixels, over all sampled frames, from which a color model can be learned."""


@dataclass(frozen=True)
class PartModel:
    """What is known of a person's parts from the whole clip."""

    palette: Float32[np.ndarray, "4 32768"]
    """Log density of colors relative to the uniform one."""
    texture: Float32[np.ndarray, "4 16"]
    """Log density of textures relative to the even one."""
    layout: Float32[np.ndarray, "4 176 144"]
    """Log probability of the parts at places of the head's frame."""
    long_hair: bool
    """Whether hair falls below the jaw: over the shoulders, beside the cheeks."""

    def probabilities(self, view: View) -> Float32[np.ndarray, "4 256 256"]:
        """Probability of each of :data:`PARTS`, given that a pixel shows the person."""
        score = self.palette[:, view.bins] + self.texture[:, view.grain] + _at_places(self.layout, view.frame)
        if view.classes is not None:
            score += np.log(_parts_of_classes(view, view.classes) + SELDOM)
        score[~allowed(view, self.long_hair)] = -np.inf
        score -= score.max(0)
        likely = np.exp(score, out=score)
        likely /= likely.sum(0)
        return _rooted(view, likely)


def learn_parts(views: Sequence[View]) -> PartModel:
    """The part model of a clip, from views of frames spread over it."""
    looks = _first_looks(views)
    hair = [_hair_seeds(view, looks) for view in views]
    fallen = [part[view.below > 0].sum() / view.frame.unit**2 for view, part in zip(views, hair, strict=True)]
    long_hair = bool(np.median(fallen) > LONG)
    seeds = [_seeds(view, looks, part, long_hair) for view, part in zip(views, hair, strict=True)]
    model = _maximize(views, seeds, long_hair)
    for _ in range(ROUNDS):
        expected = [model.probabilities(view) * (view.person > 0.5) for view in views]
        model = _maximize(views, expected, long_hair)
    return model


def allowed(view: View, long_hair: bool) -> Bool[np.ndarray, "4 256 256"]:
    """Which parts the landmarks permit at a pixel."""
    outside = ~view.oval
    permitted = np.empty((4, GRID, GRID), bool)
    permitted[NECK] = (view.below > 0) & outside & (view.below < 1.6)
    permitted[TORSO] = (view.below > COLLAR) & outside
    permitted[FACE] = view.oval | (view.below <= 0.02)
    permitted[HAIR] = ~view.core
    if not long_hair:
        permitted[HAIR] &= (view.below < SHORT_END) & ~(view.oval & (view.places[..., 1] > view.level(NOSE)))
    return permitted


@dataclass(frozen=True)
class _FirstLooks:
    """Palettes and textures of what the landmarks show beyond doubt: skin of the face, throat, hair."""

    palette: Float32[np.ndarray, "3 32768"]
    texture: Float32[np.ndarray, "3 16"]

    def hair_over_skin(self, view: View) -> Float32[np.ndarray, "256 256"]:
        """Log odds that a pixel shows hair rather than skin, be it in the chin's shadow."""
        skin, throat, hair = self.palette[:, view.bins] + self.texture[:, view.grain]
        return hair - np.maximum(skin, throat)


def _first_looks(views: Sequence[View]) -> _FirstLooks:
    regions = (lambda view: view.skin, _throat, _surely_hair)
    colors, grains = np.zeros((3, BINS**3)), np.zeros((3, GRAINS))
    for view in views:
        for row, region in enumerate(regions):
            inside = region(view)
            colors[row] += np.bincount(view.bins[inside], minlength=BINS**3)
            grains[row] += np.bincount(view.grain[inside], minlength=GRAINS)
    return _FirstLooks(_palette(colors), _texture(grains))


def _surely_hair(view: View) -> Bool[np.ndarray, "256 256"]:
    """What lies over the forehead, or beside the face farther out than ears (on a bald head this is skin)."""
    import cv2

    away = cv2.distanceTransform((~view.oval).astype(np.uint8), cv2.DIST_L2, 3) > BESIDE * view.frame.unit
    above = view.places[..., 1] < view.level(HAIRLINE) - FOREHEAD
    return (view.person > 0.9) & ~view.oval & (above | (away & (view.below < -0.1)))


def _throat(view: View) -> Bool[np.ndarray, "256 256"]:
    """What has the skin's chroma right under the chin."""
    strip = (np.abs(view.places[..., 0]) < 0.35) & (view.below > 0) & (view.below < 0.5)
    strip &= ~view.oval & (view.person > 0.9) & (_chroma_distance(view, view.skin) < 2.5)
    return _reached(strip, view.below < 0.12)


def _hair_seeds(view: View, looks: _FirstLooks) -> Bool[np.ndarray, "256 256"]:
    """What looks like hair and hangs together with what surely is."""
    inside = (view.person > 0.9) & allowed(view, long_hair=True)[HAIR]
    odds = looks.hair_over_skin(view)
    surely = _surely_hair(view) & (odds > -1)
    hair = inside & (odds > 1) & (looks.palette[2, view.bins] > 0)
    return _reached(_closed(hair | surely, GAP) & inside, surely)


def _seeds(view: View, looks: _FirstLooks, hair: np.ndarray, long_hair: bool) -> Float32[np.ndarray, "4 256 256"]:
    """What can be named from the landmarks and the first looks."""
    u = np.abs(view.places[..., 0])
    person, permitted = view.person > 0.9, allowed(view, long_hair)
    hair = hair & permitted[HAIR]
    throat = person & permitted[NECK] & (_chroma_distance(view, view.skin) < 3) & ~hair & (view.below < 0.9) & (u < 0.9)
    neck = _reached(throat, (view.below < 0.15) & (u < 0.5))
    # Locks may be lighter than the scalp and the throat's sides darker: what goes on from them is no seed of clothes.
    known = looks.palette[:, view.bins] > 0
    familiar = known[1] | (known[2] & long_hair)
    familiar = _reached((familiar & person & permitted[TORSO]) | hair | neck, hair | neck) & (u < SHOULDER)
    torso = person & permitted[TORSO] & (view.below > 0.25) & ~familiar & ~neck
    bare = person & permitted[FACE] & (looks.hair_over_skin(view) < -1) & ~hair
    return np.stack([hair, view.skin | _reached(bare | view.core, view.core), neck, torso]).astype(np.float32)


def _chroma_distance(view: View, region: np.ndarray) -> Float32[np.ndarray, "256 256"]:
    """Mahalanobis distance of every pixel's chroma from that of a region of the same picture."""
    chroma = view.chroma[:, region]
    if chroma.shape[1] < 2:
        return np.full((GRID, GRID), np.inf, np.float32)
    a, b = view.chroma - np.median(chroma, 1)[:, None, None]
    # The floor is the spread that shadow and blush add elsewhere.
    inverse = np.linalg.inv(np.cov(chroma) + 4 * np.eye(2))
    return np.sqrt(inverse[0, 0] * a * a + 2 * inverse[0, 1] * a * b + inverse[1, 1] * b * b).astype(np.float32)


def _reached(region: np.ndarray, start: np.ndarray) -> Bool[np.ndarray, "256 256"]:
    """The pieces of ``region`` that hold a pixel of ``start``."""
    import cv2

    count, found = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    pieces = np.asarray(found, np.int32)
    kept = np.zeros(count, bool)
    kept[pieces[region & start]] = True
    return kept[pieces]


def _maximize(views: Sequence[View], expected: Sequence[np.ndarray], long_hair: bool) -> PartModel:
    """Colors and places of the parts, given to what extent each pixel belongs to each."""
    counts, grains = np.zeros((4, BINS**3)), np.zeros((4, GRAINS))
    places = np.zeros((4, *LAYOUT_SHAPE))
    for view, weight in zip(views, expected, strict=True):
        cells = _cells(view.places)
        for part in range(4):
            inside = np.flatnonzero(weight[part] > 0.02)
            flat = weight[part].ravel()[inside]
            places[part] += np.bincount(cells.ravel()[inside], flat, np.prod(LAYOUT_SHAPE)).reshape(LAYOUT_SHAPE)
            # Only bare skin teaches the face's colors: a beard or a strand of hair has the hair's.
            if part == FACE:
                inside, flat = np.flatnonzero(view.skin), np.ones(int(view.skin.sum()))
            counts[part] += np.bincount(view.bins.ravel()[inside], flat, BINS**3)
            grains[part] += np.bincount(view.grain.ravel()[inside], flat, GRAINS)
    return PartModel(_palette(counts), _texture(grains), _layout(places), long_hair)


def _palette(counts: Float[np.ndarray, "K bins"]) -> Float32[np.ndarray, "K bins"]:
    from scipy.ndimage import gaussian_filter

    density = np.stack(
        [gaussian_filter(part.astype(np.float64).reshape((BINS,) * 3), COLOR_BLUR).ravel() for part in counts]
    )
    total = density.sum(1, keepdims=True)
    # A part that is not there (a bald head's hair) has no colors: even ones, far below those of a part that is.
    density = np.where(total >= FEWEST, density / np.maximum(total, 1) * BINS**3, UNSEEN)
    return np.log((1 - UNSEEN) * density + UNSEEN).astype(np.float32)


def _texture(counts: Float[np.ndarray, "K grains"]) -> Float32[np.ndarray, "K grains"]:
    density = counts + counts.sum(1, keepdims=True) * (UNSEEN / GRAINS) + 1
    return np.log(density / density.sum(1, keepdims=True) * GRAINS).astype(np.float32)


def _layout(places: Float[np.ndarray, "4 rows columns"]) -> Float32[np.ndarray, "4 rows columns"]:
    from scipy.ndimage import gaussian_filter

    spread = LAYOUT_BLUR * CELLS_PER_UNIT
    soft = np.stack([gaussian_filter(part, spread) for part in places])
    seen = soft.sum(0)
    # One observation's worth of ignorance: where nothing was seen all parts are equally probable.
    ignorance = max(0.05 * float(seen.max()), 1.0)
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


def _rooted(view: View, likely: Float32[np.ndarray, "4 256 256"]) -> Float32[np.ndarray, "4 256 256"]:
    """Take parts away where they do not hang together with their root.

    So a dark suit is not hair (it must hang together with the scalp, by a way that does not lead through the face),
    a red tie is not neck, and shining streaks of hair are not face. Hair's colors right under the jaw are a beard's.
    """
    hair, face, neck, torso = (likely > 0.5) & (view.person > 0.4)
    under = view.below > 0
    width = FRINGE * view.frame.unit
    loose_hair = hair & ~view.core & ~_reached(hair & ~view.core, view.places[..., 1] < view.level(HAIRLINE) + 0.35)
    loose_neck = neck & ~_reached(neck, (view.below < 0.2) & (np.abs(view.places[..., 0]) < 0.6))
    loose_torso = torso & ~_reached(torso, _border())
    shine = face & ~view.oval & (view.below < -1)
    shine &= ~_reached(_opened(face | view.oval, STREAK * view.frame.unit), view.core)
    # Along the outline the background's light changes colors: narrow rims go with what they lie along.
    rim = _dilated(view.person < 0.6, width)
    shine |= (face & ~_reached(face | view.core, view.core)) | (_fringe(neck | torso, hair, width) & rim)
    reflection = _fringe(hair & ~loose_hair, face, width) & ~under
    beard = loose_hair & (view.below < 0.12)
    result = likely.copy()
    for part, loose in ((HAIR, loose_hair | reflection), (NECK, loose_neck), (FACE, shine), (TORSO, loose_torso)):
        result[part, loose] = 0
    result[FACE, beard | reflection] = 1
    result[:, shine] = np.eye(4, dtype=np.float32)[HAIR][:, None]
    result[FACE, loose_neck & (view.below < 0.15)] += 0.05
    result[TORSO, loose_neck | (loose_hair & ~beard & under)] += 0.02
    result[FACE, loose_hair & ~beard & ~under] += 0.02
    result[NECK, loose_torso] += 0.02
    return result / result.sum(0)


def _fringe(region: np.ndarray, other: np.ndarray, width: float) -> Bool[np.ndarray, "256 256"]:
    """Parts of ``region`` narrower than ``width`` along ``other`` and away from the wider parts."""
    return region & ~_dilated(_opened(region, width), width) & _dilated(other, width)


def _dilated(region: np.ndarray, width: float) -> Bool[np.ndarray, "256 256"]:
    """The region with what lies within ``width`` pixels of it."""
    import cv2

    edge = 2 * round(width) + 1
    return cv2.dilate(region.astype(np.uint8), np.ones((edge, edge), np.uint8)).astype(bool)


def _closed(region: np.ndarray, width: float) -> Bool[np.ndarray, "256 256"]:
    """The region with gaps narrower than ``width`` pixels."""
    return ~_opened(~region, width)


def _border() -> Bool[np.ndarray, "256 256"]:
    border = np.ones((GRID, GRID), bool)
    border[1:-1, 1:-1] = False
    return border


def _opened(region: np.ndarray, width: float) -> Bool[np.ndarray, "256 256"]:
    """The region without parts narrower than ``width`` pixels."""
    import cv2

    edge = max(1, round(width))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))
    return cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, disk).astype(bool)


def _parts_of_classes(view: View, classes: Float32[np.ndarray, "256 256 6"]) -> Float32[np.ndarray, "4 256 256"]:
    """The multi-class segmenter's classes as parts: its body skin is neck below the jaw, things held are torso."""
    hair, body, face, clothes, others = np.moveaxis(classes[..., 1:], -1, 0)
    parts = np.stack([hair, face + body * (view.below <= 0), body, clothes + others])
    return parts / np.maximum(parts.sum(0), 1e-6)
