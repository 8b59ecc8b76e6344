"""The whole person: all parts in one mesh, posed, lit and drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from threading import Lock

import numpy as np
from jaxtyping import Float, Int, UInt8

from talksplat.frame import Label
from talksplat.synthetic import surfaces
from talksplat.synthetic.ears import ear
from talksplat.synthetic.expression import Expression
from talksplat.synthetic.eyes import eyeball, turned
from talksplat.synthetic.face import EYE_CORNERS, LANDMARKS, UPPER_LIDS
from talksplat.synthetic.hair import hair, strand_directions
from talksplat.synthetic.head import Head
from talksplat.synthetic.lighting import KEY, ShadowMap, Surface, shade, sky_seen
from talksplat.synthetic.mesh import NormalField, Part
from talksplat.synthetic.mouth import teeth, tongue, tongue_shape, with_jaw
from talksplat.synthetic.noise import linear_light
from talksplat.synthetic.palette import Palette, palette_of
from talksplat.synthetic.renderer import Visible, project, rasterize
from talksplat.synthetic.shoulders import follow_head, neck, sweater
from talksplat.synthetic.skin import face_page

SUPERSAMPLING = 2
SHADOW_SIZE = 300
SHADOW_CASTERS = ("head", "right_ear", "left_ear", "under_hair", "hair")
SKIN_PAGES = ("skin", "ear", "neck")
TONES = 4096


@dataclass(frozen=True)
class Instant:
    """Everything that moves, at one moment."""

    expression: Expression
    gaze: Float[np.ndarray, "2"]
    """Towards the person's left and up, radians."""
    head_to_camera: Float[np.ndarray, "4 4"]
    """Metres, OpenCV axes; the head's world is the canonical face's with y and z turned round."""
    trunk_to_camera: Float[np.ndarray, "4 4"]
    """The same for the shoulders, which share the head's axes at rest."""


@dataclass(frozen=True)
class Drawing:
    """A picture of the person before the room is put behind it."""

    color: Float[np.ndarray, "H W 3"]
    """sRGB in [0, 255], premultiplied by coverage."""
    coverage: Float[np.ndarray, "H W"]
    labels: UInt8[np.ndarray, "H W"]
    landmarks: Float[np.ndarray, "468 3"]
    """The face's vertices in camera axes, metres."""


class Person:
    """A seeded person, independent of picture size."""

    def __init__(self, seed: int) -> None:
        self.palette: Palette = palette_of(seed)
        self._head = Head()
        self._parts: dict[str, Part] = {
            "head": self._head.part,
            "upper_teeth": teeth(upper=True),
            "lower_teeth": teeth(upper=False),
            "tongue": tongue(),
            "right_eye": eyeball(0),
            "left_eye": eyeball(1),
            "right_ear": ear(0),
            "left_ear": ear(1),
            "under_hair": hair(0, seed),
            "hair": hair(1, seed),
            "neck": neck(),
            "sweater": sweater(seed),
        }
        parts = self._parts.values()
        first = np.cumsum([0, *(len(part.vertices) for part in parts)])
        self._slices = {name: slice(a, b) for name, a, b in zip(self._parts, first, first[1:], strict=False)}
        self._triangles = np.concatenate([p.triangles + a for p, a in zip(parts, first, strict=False)]).astype(np.int32)
        self._labels = np.concatenate([part.labels for part in parts]).astype(np.uint8)
        self._normals = NormalField(self._triangles, int(first[-1]))
        self._follow = self._following()
        self._texture = np.concatenate([part.texture for part in parts]).astype(np.float32)
        self._pages = _painted_pages(seed, self.palette)
        self._atlases: dict[int, Atlas] = {}
        self._lock = Lock()
        casters = [self._slices[name] for name in SHADOW_CASTERS]
        corner = self._triangles[:, 0]
        self._casters = self._triangles[np.any([(corner >= c.start) & (corner < c.stop) for c in casters], axis=0)]
        self._surface = self._surfaces()

    def draw(self, instant: Instant, intrinsics: Float[np.ndarray, "3 3"], size: int) -> Drawing:
        """The person seen by the camera, in a square picture of ``size`` pixels."""
        shape = self._shape(instant.expression, instant.gaze)
        points = self._in_camera(shape, instant)
        landmarks = points[:LANDMARKS].astype(np.float64)
        light = self._light(points, self._lid_shade(shape))
        fine = size * SUPERSAMPLING
        scaled = intrinsics.copy()
        scaled[:2] *= SUPERSAMPLING
        seen = rasterize(project(points, scaled), points[:, 2], self._triangles, fine)
        color = self._colors(seen, light, self._atlas(size))
        labels = np.full(fine * fine, int(Label.BACKGROUND), np.uint8)
        labels[seen.pixels] = self._labels[seen.triangles]
        picture = np.zeros((fine * fine, 3), np.float32)
        picture[seen.pixels] = color
        covered = np.zeros(fine * fine, np.float32)
        covered[seen.pixels] = 1
        return Drawing(
            color=_mean(picture.reshape(fine, fine, 3)),
            coverage=_mean(covered.reshape(fine, fine)),
            labels=_majority(labels.reshape(fine, fine)),
            landmarks=landmarks,
        )

    def _shape(self, expression: Expression, gaze: Float[np.ndarray, "2"]) -> Float[np.ndarray, "N 3"]:
        """All vertices at rest pose under an expression, centimetres."""
        rest = {name: part.vertices for name, part in self._parts.items()}
        rest["head"] = self._head.shape(expression)
        rest["lower_teeth"] = with_jaw(rest["lower_teeth"], expression)
        rest["tongue"] = tongue_shape(rest["tongue"], expression)
        for eye, name in enumerate(("right_eye", "left_eye")):
            rest[name] = turned(rest[name], eye, gaze)
        return np.concatenate([vertices.astype(np.float32) for vertices in rest.values()])

    def _lid_shade(self, shape: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
        """Light that the upper lids leave to every vertex: less on the eyeballs close under them."""
        left = np.ones(len(shape), np.float32)
        for name, lid, (outer, inner) in zip(("right_eye", "left_eye"), UPPER_LIDS, EYE_CORNERS, strict=True):
            rim = shape[[outer, *lid, inner]]
            rim = rim[np.argsort(rim[:, 0])]
            ball = shape[self._slices[name]]
            below = np.interp(ball[:, 0], rim[:, 0], rim[:, 1]) - ball[:, 1]
            left[self._slices[name]] = 0.42 + 0.58 * np.clip((below + 0.05) / 0.42, 0, 1)
        return left

    def _in_camera(self, shape: Float[np.ndarray, "N 3"], instant: Instant) -> Float[np.ndarray, "N 3"]:
        """All vertices in camera axes, metres: the neck is a blend of what the head and the trunk would make of it."""
        world = shape * np.array([0.01, -0.01, -0.01], np.float32)
        head, trunk = (m.astype(np.float32) for m in (instant.head_to_camera, instant.trunk_to_camera))
        by_head = world @ head[:3, :3].T + head[:3, 3]
        by_trunk = world @ trunk[:3, :3].T + trunk[:3, 3]
        return by_trunk + self._follow[:, None] * (by_head - by_trunk)

    def _light(self, points: Float[np.ndarray, "N 3"], left: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 4"]:
        """Light and highlight of every vertex; ``left`` is what small things nearby leave of it."""
        room, viewer = _room(points)
        normals = self._normals(room)
        shadow = ShadowMap(KEY, SHADOW_SIZE)
        shadow.draw(room, self._casters)
        lit = shadow.lit(room + 0.25 * normals, bias=0.4, spread=2)
        strands = np.zeros_like(room)
        for name in ("under_hair", "hair"):
            strands[self._slices[name]] = strand_directions(room[self._slices[name]])
        surface = replace(self._surface, occlusion=self._surface.occlusion * left)
        return shade(room, normals, viewer, lit * left, surface, strands)

    def _colors(self, seen: Visible, light: Float[np.ndarray, "N 4"], atlas: Atlas) -> Float[np.ndarray, "P 3"]:
        """sRGB in [0, 255] of the seen points."""
        values = seen.interpolate(self._triangles, np.concatenate([light, self._texture], 1))
        paint = atlas.sample(seen.triangles, values[:, 4:6])
        linear = paint * values[:, :3] + values[:, 3:4] * (0.25 + 0.75 * paint)
        tones = np.minimum(linear * np.float32((TONES - 1) / 2), TONES - 1).astype(np.int64)
        return np.take(_tone_table(), tones)

    def _atlas(self, size: int) -> Atlas:
        """The painted pages at about the resolution of the subsamples of a picture of ``size`` pixels."""
        times = int(np.clip(np.round(np.log2(1100 / size)), 0, 4))
        with self._lock:
            if times not in self._atlases:
                pages = {name: halved(page, times) for name, page in self._pages.items()}
                self._atlases[times] = Atlas(list(self._parts.values()), pages)
        return self._atlases[times]

    def _following(self) -> Float[np.ndarray, " N"]:
        shares = {name: np.ones(len(part.vertices)) for name, part in self._parts.items()}
        shares["neck"] = follow_head(self._parts["neck"].vertices)
        shares["sweater"] = 0.25 * follow_head(self._parts["sweater"].vertices)
        return np.concatenate(list(shares.values())).astype(np.float32)

    def _surfaces(self) -> Surface:
        """Answers to light; hollows are found with the mouth half open, else its inside would be black."""
        shape = self._shape(Expression(jaw=0.55, seal=0.0, upper_lip=0.3, lower_lip=0.4), np.zeros(2))
        columns: dict[str, list[np.ndarray]] = {"wrap": [], "gloss": [], "sharpness": [], "sheen": []}
        for part in self._parts.values():
            count = len(part.vertices)
            soft = np.array((0.40, 0.20, 0.13) if part.page in SKIN_PAGES else (0.12, 0.12, 0.12), np.float32)
            columns["wrap"].append(np.tile(soft, (count, 1)))
            columns["gloss"].append(np.full(count, part.gloss, np.float32))
            columns["sharpness"].append(np.full(count, part.sharpness, np.float32))
            columns["sheen"].append(np.full(count, {"hair": 0.16, "under_hair": 0.07}.get(part.page, 0.0), np.float32))
        joined = {name: np.concatenate(values) for name, values in columns.items()}
        lips = np.unique(self._triangles[self._labels == int(Label.LIPS)])
        joined["gloss"][lips], joined["sharpness"][lips] = 0.34, 30
        pouch = self._slices["head"].stop
        joined["gloss"][pouch - self._head.pouch_vertices : pouch] = 0.05
        occlusion = sky_seen(shape, self._normals(shape), self._triangles)
        inside = np.zeros(len(occlusion), bool)
        inside[pouch - self._head.pouch_vertices : pouch] = True
        for name in ("tongue", "lower_teeth", "upper_teeth"):
            inside[self._slices[name]] = True
        # Light that enters the mouth is thrown about in it: it is never as dark as a cave of black walls.
        occlusion = np.where(inside, np.maximum(occlusion, 0.3), 0.12 + 0.88 * occlusion)
        return Surface(**joined, occlusion=occlusion)


class Atlas:
    """All pictures in one long row of texels, in linear light."""

    def __init__(self, parts: list[Part], pages: dict[str, Float[np.ndarray, "H W 3"]]) -> None:
        start, starts = 0, {}
        for name, page in pages.items():
            starts[name] = start
            start += page.shape[0] * page.shape[1]
        texels = np.concatenate([linear_light(page).reshape(-1, 3) for page in pages.values()])
        self._texels = texels.astype(np.float32)
        rows = [(starts[p.page], pages[p.page].shape[1], pages[p.page].shape[0]) for p in parts]
        self._page = np.repeat(np.arange(len(parts)), [len(p.triangles) for p in parts]).astype(np.int32)
        self._start, self._width, self._height = np.array(rows, np.int64).T

    def sample(self, triangles: Int[np.ndarray, " P"], place: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, "P 3"]:
        """Paint at ``place`` (0 to 1): the nearest texel, since pages are about as fine as the subsamples."""
        page = self._page[triangles]
        width, height = self._width[page], self._height[page]
        x = np.clip((place[:, 0] * width).astype(np.int64), 0, width - 1)
        y = np.clip((place[:, 1] * height).astype(np.int64), 0, height - 1)
        return np.take(self._texels, self._start[page] + y * width + x, axis=0)


def halved(page: Float[np.ndarray, "H W 3"], times: int) -> Float[np.ndarray, "h w 3"]:
    """The page at a half, a quarter, ... of its resolution, by averaging."""
    for _ in range(times):
        page = 0.25 * (page[::2, ::2] + page[1::2, ::2] + page[::2, 1::2] + page[1::2, 1::2])
    return page


@cache
def person(seed: int) -> Person:
    """The person ``seed``, made once."""
    return Person(seed)


def _painted_pages(seed: int, palette: Palette) -> dict[str, Float[np.ndarray, "H W 3"]]:
    names = ("eye", "teeth", "tongue", "ear", "neck", "hair", "under_hair", "sweater")
    pages = {name: getattr(surfaces, f"{name}_page")(seed, palette) for name in names}
    pages["skin"] = face_page(seed, palette)
    return {name: page.astype(np.float32) for name, page in pages.items()}


@cache
def _tone_table() -> Float[np.ndarray, " tones"]:
    """Linear light from 0 to 2 -> sRGB in [0, 255], with a soft shoulder so that highlights do not clip."""
    linear = np.linspace(0, 2, TONES)
    shoulder = np.where(linear < 0.7, linear, 0.7 + 0.3 * np.tanh((linear - 0.7) / 0.42))
    srgb = np.where(shoulder <= 0.0031308, 12.92 * shoulder, 1.055 * shoulder ** (1 / 2.4) - 0.055)
    return (255 * srgb).astype(np.float32)


def _room(points: Float[np.ndarray, "N 3"]) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "3"]]:
    """Points in the lights' axes (centimetres, y up, z to the camera, the head about the origin), and the viewer."""
    room = points * np.array([100, -100, -100], np.float32)
    viewer = np.array([0.0, -4.5, 80.0], np.float32)
    return room + viewer, viewer


def _subsamples(picture: np.ndarray) -> list[np.ndarray]:
    """The four pictures of every second row and column."""
    return [picture[y::SUPERSAMPLING, x::SUPERSAMPLING] for y in range(SUPERSAMPLING) for x in range(SUPERSAMPLING)]


def _mean(picture: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    a, b, c, d = _subsamples(picture)
    return (a + b + c + d) * np.float32(0.25)


def _majority(samples: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "h w"]:
    """The most frequent of each pixel's four labels; of equally frequent ones the earliest."""
    a, b, c, d = _subsamples(samples)
    # The first is in the majority unless the other three hold a pair that it has no part in.
    alone = (a != b) & (a != c) & (a != d)
    result = np.where(alone & (b == c) | alone & (b == d), b, a)
    return np.where(alone & (b != c) & (b != d) & (c == d), c, result)
