"""The whole person: all parts in one mesh, posed, lit and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8

from talksplat.frame import Label
from talksplat.synthetic import surfaces
from talksplat.synthetic.ears import ear
from talksplat.synthetic.expression import Expression
from talksplat.synthetic.eyes import eyeball, turned
from talksplat.synthetic.face import LANDMARKS
from talksplat.synthetic.hair import hair, strand_directions
from talksplat.synthetic.head import Head
from talksplat.synthetic.lighting import ShadowMap, Surface, shade, sky_seen
from talksplat.synthetic.mesh import NormalField, Part
from talksplat.synthetic.mouth import teeth, tongue, tongue_shape, with_jaw
from talksplat.synthetic.noise import linear_light
from talksplat.synthetic.palette import Palette, palette_of
from talksplat.synthetic.renderer import Visible, project, rasterize
from talksplat.synthetic.shoulders import follow_head, neck, sweater
from talksplat.synthetic.skin import face_page

SUPERSAMPLING = 2
SHADOW_SIZE = 300
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
        self._normals = NormalField(self._triangles, first[-1])
        self._follow = self._following()
        self._atlas = Atlas(list(parts), self._pages(seed))
        self._surface = self._surfaces()

    def draw(self, instant: Instant, intrinsics: Float[np.ndarray, "3 3"], size: int) -> Drawing:
        """The person seen by the camera, in a square picture of ``size`` pixels."""
        points = self._in_camera(instant)
        landmarks = points[:LANDMARKS].astype(np.float64)
        light = self._light(points)
        fine = size * SUPERSAMPLING
        scaled = intrinsics.copy()
        scaled[:2] *= SUPERSAMPLING
        seen = rasterize(project(points, scaled), points[:, 2], self._triangles, fine)
        color = self._colors(seen, light)
        labels = np.full(fine * fine, int(Label.BACKGROUND), np.uint8)
        labels[seen.pixels] = self._labels[seen.triangles]
        picture = np.zeros((fine * fine, 3), np.float32)
        picture[seen.pixels] = color
        covered = np.zeros(fine * fine, np.float32)
        covered[seen.pixels] = 1
        return Drawing(
            color=_blocks(picture.reshape(fine, fine, 3)).mean(2),
            coverage=_blocks(covered.reshape(fine, fine, 1)).mean(2)[..., 0],
            labels=_majority(_blocks(labels.reshape(fine, fine, 1))[..., 0]),
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

    def _in_camera(self, instant: Instant) -> Float[np.ndarray, "N 3"]:
        """All vertices in camera axes, metres: the neck is a blend of what the head and the trunk would make of it."""
        world = self._shape(instant.expression, instant.gaze) * np.array([0.01, -0.01, -0.01], np.float32)
        head, trunk = (m.astype(np.float32) for m in (instant.head_to_camera, instant.trunk_to_camera))
        by_head = world @ head[:3, :3].T + head[:3, 3]
        by_trunk = world @ trunk[:3, :3].T + trunk[:3, 3]
        return by_trunk + self._follow[:, None] * (by_head - by_trunk)

    def _light(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 4"]:
        room, viewer = _room(points)
        normals = self._normals(room)
        shadow = ShadowMap(np.array(_key()), SHADOW_SIZE)
        shadow.draw(room, self._triangles)
        lit = shadow.lit(room + 0.25 * normals, bias=0.4, spread=2)
        strands = np.zeros_like(room)
        for name in ("under_hair", "hair"):
            strands[self._slices[name]] = strand_directions(room[self._slices[name]])
        return shade(room, normals, viewer, lit, self._surface, strands)

    def _colors(self, seen: Visible, light: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "P 3"]:
        """sRGB in [0, 255] of the seen points."""
        values = seen.interpolate(self._triangles, np.concatenate([light, self._atlas.texels], 1))
        paint = self._atlas.sample(seen.triangles, values[:, 4:6])
        linear = paint * values[:, :3] + values[:, 3:4] * (0.25 + 0.75 * paint)
        return _tone_table()[(np.minimum(linear, 2.0) * ((TONES - 1) / 2.0)).astype(np.int32)]

    def _pages(self, seed: int) -> dict[str, Float[np.ndarray, "H W 3"]]:
        names = ("eye", "teeth", "tongue", "ear", "neck", "hair", "under_hair", "sweater")
        pages = {name: getattr(surfaces, f"{name}_page")(seed, self.palette) for name in names}
        return {"skin": face_page(seed, self.palette), **pages}

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
            soft = (0.40, 0.20, 0.13) if part.page in SKIN_PAGES else (0.12, 0.12, 0.12)
            columns["wrap"].append(np.tile(np.float32(soft), (count, 1)))
            columns["gloss"].append(np.full(count, part.gloss, np.float32))
            columns["sharpness"].append(np.full(count, part.sharpness, np.float32))
            columns["sheen"].append(np.full(count, {"hair": 0.16, "under_hair": 0.07}.get(part.page, 0.0), np.float32))
        joined = {name: np.concatenate(values) for name, values in columns.items()}
        lips = np.unique(self._triangles[self._labels == int(Label.LIPS)])
        joined["gloss"][lips], joined["sharpness"][lips] = 0.34, 30
        pouch = self._slices["head"].stop
        joined["gloss"][pouch - self._head.pouch_vertices : pouch] = 0.05
        occlusion = sky_seen(shape, self._normals(shape), self._triangles)
        return Surface(**joined, occlusion=occlusion)


class Atlas:
    """All pictures in one long row of texels, in linear light."""

    def __init__(self, parts: list[Part], pages: dict[str, Float[np.ndarray, "H W 3"]]) -> None:
        start, starts = 0, {}
        for name, page in pages.items():
            starts[name] = start
            start += page.shape[0] * page.shape[1]
        self._texels = np.concatenate([linear_light(page).reshape(-1, 3) for page in pages.values()]).astype(np.float32)
        self.texels = np.concatenate(
            [p.texture * (pages[p.page].shape[1], pages[p.page].shape[0]) - 0.5 for p in parts]
        ).astype(np.float32)
        """Place of every vertex in its page, texels."""
        rows = [(starts[p.page], pages[p.page].shape[1], pages[p.page].shape[0]) for p in parts]
        self._page = np.repeat(np.arange(len(parts)), [len(p.triangles) for p in parts]).astype(np.int32)
        self._start, self._width, self._height = np.array(rows, np.int32).T

    def sample(self, triangles: Int[np.ndarray, " P"], place: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, "P 3"]:
        """Paint at ``place`` (texels), bilinear."""
        page = self._page[triangles]
        width, height, start = self._width[page], self._height[page], self._start[page]
        place = np.clip(place, 0, np.stack([width, height], -1) - np.float32(1.001))
        x, y = place.astype(np.int32).T
        fx, fy = (place - np.stack([x, y], -1)).T[..., None]
        corner = start + y * width + x
        above = self._texels[corner] * (1 - fx) + self._texels[corner + 1] * fx
        corner += width
        below = self._texels[corner] * (1 - fx) + self._texels[corner + 1] * fx
        return above + fy * (below - above)


@cache
def person(seed: int) -> Person:
    """The person ``seed``, made once."""
    return Person(seed)


@cache
def _tone_table() -> Float[np.ndarray, " tones"]:
    """Linear light from 0 to 2 -> sRGB in [0, 255], with a soft shoulder so that highlights do not clip."""
    linear = np.linspace(0, 2, TONES)
    shoulder = np.where(linear < 0.7, linear, 0.7 + 0.3 * np.tanh((linear - 0.7) / 0.42))
    srgb = np.where(shoulder <= 0.0031308, 12.92 * shoulder, 1.055 * shoulder ** (1 / 2.4) - 0.055)
    return (255 * srgb).astype(np.float32)


def _key() -> tuple[float, ...]:
    from talksplat.synthetic.lighting import KEY

    return tuple(KEY)


def _room(points: Float[np.ndarray, "N 3"]) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "3"]]:
    """Points in the lights' axes (centimetres, y up, z to the camera, the head about the origin), and the viewer."""
    room = points * np.array([100, -100, -100], np.float32)
    viewer = np.array([0.0, -4.5, 80.0], np.float32)
    return room + viewer, viewer


def _blocks(picture: Float[np.ndarray, "H W C"]):
    """Subsamples of each pixel along the third axis."""
    size = picture.shape[0] // SUPERSAMPLING
    split = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, -1)
    return split.transpose(0, 2, 1, 3, 4).reshape(size, size, SUPERSAMPLING**2, -1)


def _majority(samples: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W"]:
    """The most frequent of four labels; of equally frequent ones the earliest in the block."""
    votes = (samples[..., :, None] == samples[..., None, :]).sum(-1)
    return np.take_along_axis(samples, votes.argmax(-1)[..., None], -1)[..., 0]
