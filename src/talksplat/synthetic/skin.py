"""The painted skin of the face: complexion, lips, brows, lashes, freckles."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.frame import Label
from talksplat.synthetic.expression import face_rig
from talksplat.synthetic.face import (
    BROWS,
    EYE_CORNERS,
    LID_FOLDS,
    LOWER_INNER,
    LOWER_LIDS,
    UPPER_INNER,
    UPPER_LIDS,
    face_topology,
    fine_face,
    fine_labels,
)
from talksplat.synthetic.noise import blend, smooth_noise
from talksplat.synthetic.palette import Palette
from talksplat.synthetic.renderer import rasterize

SIZE = 1024


def face_page(seed: int, palette: Palette) -> Float[np.ndarray, "size size 3"]:
    """The picture that paints the head's skin, sRGB in [0, 1], in the canonical face's texture coordinates."""
    rng = np.random.default_rng((seed, 41))
    place, lips = _places()
    picture = np.broadcast_to(np.array(palette.skin), (SIZE, SIZE, 3)).copy()
    picture = _complexion(picture, place, palette)
    picture = _freckled(picture, place, rng)
    mottled = 0.012 * smooth_noise(rng, SIZE, SIZE, 60, 60) + 0.010 * smooth_noise(rng, SIZE, SIZE, 9, 9)
    picture *= (1 + (mottled + 0.012 * smooth_noise(rng, SIZE, SIZE, 3.5, 3.5)))[..., None]
    picture = _painted_lips(picture, place, lips, rng, palette)
    picture = _outlined_eyes(picture, palette)
    picture = _brows(picture, rng, palette)
    return np.clip(_pouch(picture), 0, 1)


def _places() -> tuple[Float[np.ndarray, "size size 3"], Float[np.ndarray, "size size"]]:
    """For every texel its point of the face at rest (centimetres), and how much it belongs to the lips."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    texture = (fine_face().weights @ face_topology().texture) * SIZE
    points = fine_face().weights @ face_rig().neutral
    triangles = fine_face().triangles
    seen = rasterize(texture, np.ones(len(texture)), triangles, SIZE)
    covered = np.zeros(SIZE * SIZE, bool)
    covered[seen.pixels] = True
    place = np.zeros((SIZE * SIZE, 3))
    place[seen.pixels] = seen.interpolate(triangles, points)
    lips = np.zeros(SIZE * SIZE)
    lips[seen.pixels] = fine_labels()[seen.triangles] == int(Label.LIPS)
    nearest = distance_transform_edt(~covered.reshape(SIZE, SIZE), return_distances=False, return_indices=True)
    index = tuple(np.asarray(nearest))
    return place.reshape(SIZE, SIZE, 3)[index], gaussian_filter(lips.reshape(SIZE, SIZE)[index], 2.2)


def _spot(place: Float[np.ndarray, "H W 3"], x: float, y: float, width: float, height: float):
    """A soft spot on both sides of the face."""
    return np.exp(-(((np.abs(place[..., 0]) - x) / width) ** 2) - ((place[..., 1] - y) / height) ** 2)


def _complexion(picture, place, palette: Palette):
    """Warmer cheeks, nose and chin, darker eye sockets, a paler brow, a shaven chin."""
    skin = np.array(palette.skin)
    red = tuple(skin * (1.0, 0.80, 0.76))
    picture = blend(picture, red, 0.62 * _spot(place, 4.3, -0.9, 1.9, 1.5))
    picture = blend(picture, red, 0.62 * _spot(place, 0.0, -1.1, 1.2, 0.9))
    picture = blend(picture, red, 0.30 * _spot(place, 0.0, -8.2, 2.0, 1.0))
    picture = blend(picture, tuple(skin * (0.88, 0.78, 0.78)), 0.42 * _spot(place, 3.0, 3.3, 1.9, 0.75))
    picture = blend(picture, tuple(skin * (0.87, 0.78, 0.80)), 0.40 * _spot(place, 2.9, 1.6, 1.5, 0.5))
    picture = blend(picture, tuple(np.minimum(skin * (1.05, 1.06, 1.05), 1)), 0.5 * _spot(place, 0.0, 6.4, 3.6, 1.3))
    beard = np.clip(-(place[..., 1] + 2.6) / 1.6, 0, 1) * np.clip((6.6 - np.abs(place[..., 0])) / 2, 0, 1)
    picture = blend(picture, tuple(skin * (0.84, 0.86, 0.91)), 0.26 * beard)
    inside = np.stack([np.abs(place[..., 0]) - 0.76, place[..., 1] + 1.52, place[..., 2] - 6.1], -1) / (0.36, 0.22, 0.5)
    nostrils = np.exp(-((inside**2).sum(-1) ** 1.5))
    return blend(picture, tuple(skin * (0.30, 0.17, 0.15)), 0.95 * nostrils)


def _freckled(picture, place, rng: np.random.Generator):
    """A few faint freckles and two moles, so that the cheeks have something to follow."""
    from scipy.ndimage import gaussian_filter

    dots = np.zeros((SIZE, SIZE))
    rows, columns = rng.integers(0, SIZE, (2, 2600))
    over_cheeks = _spot(place, 2.9, -0.4, 2.8, 1.5)[rows, columns] + 0.10
    strong = rng.uniform(0, 1, len(rows)) < over_cheeks
    dots[rows[strong], columns[strong]] = rng.uniform(0.3, 1.0, strong.sum())
    dots = gaussian_filter(dots, 1.7) * 17
    moles = np.zeros((SIZE, SIZE))
    for x, y in ((3.6, -3.1), (-5.0, 1.0), (-2.2, 6.3)):
        distance = np.hypot(place[..., 0] - x, place[..., 1] - y)
        moles += np.exp(-((distance / 0.13) ** 4))
    return picture * (1 - (0.15 * dots + 0.5 * moles).clip(0, 0.6)[..., None] * (0.6, 0.9, 1.0))


def _painted_lips(picture, place, lips, rng: np.random.Generator, palette: Palette):
    """Lips with fine furrows, darker towards their inner rim."""
    rest = face_rig().neutral
    line_x = rest[list(UPPER_INNER), 0]
    line_y = 0.45 * rest[list(UPPER_INNER), 1] + 0.55 * rest[list(LOWER_INNER), 1]
    height = np.abs(place[..., 1] - np.interp(place[..., 0], line_x, line_y))
    furrows = smooth_noise(rng, SIZE, SIZE, 40, 4.0)
    color = np.array(palette.lips) * (1 + 0.025 * furrows[..., None])
    color = color * (1 - 0.36 * np.exp(-((height / 0.22) ** 2)))[..., None]
    upper = place[..., 1] > np.interp(place[..., 0], line_x, line_y)
    color = color * np.where(upper, 0.90, 1.03)[..., None]
    return picture + 0.92 * lips[..., None] * (color - picture)


def _drawn_lines(width_scale: int = 2):
    """A black picture twice as fine as the page, and a pen for it."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (SIZE * width_scale, SIZE * width_scale))
    return image, ImageDraw.Draw(image)


def _as_share(image) -> Float[np.ndarray, "size size"]:
    from PIL import Image

    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=float) / 255


def _outlined_eyes(picture, palette: Palette):
    """Dark lash lines along the lids, stronger above, and the fold over the upper lid."""
    texture = face_topology().texture * 2 * SIZE
    image, pen = _drawn_lines()
    for upper, lower, fold, (outer, inner) in zip(UPPER_LIDS, LOWER_LIDS, LID_FOLDS, EYE_CORNERS, strict=True):
        for row, width, value in ((upper, 15, 235), (lower, 7, 110)):
            points = [tuple(p) for p in texture[[outer, *row, inner]]]
            pen.line(points, fill=value, width=width, joint="curve")
        crease = 0.42 * texture[list(upper)] + 0.58 * texture[list(fold)]
        pen.line([tuple(p) for p in crease], fill=70, width=8, joint="curve")
        wing = texture[outer] + (texture[outer] - texture[inner]) * (0.05, 0) - (0, 10)
        pen.line([tuple(texture[outer]), tuple(wing)], fill=200, width=12)
    from PIL import ImageFilter

    share = _as_share(image.filter(ImageFilter.GaussianBlur(3)))
    return blend(picture, tuple(np.array(palette.hair) * 0.45), 0.92 * share)


def _brows(picture, rng: np.random.Generator, palette: Palette):
    """Brows as many short strokes that fan from upright near the nose to flat at the temple."""
    texture = face_topology().texture * 2 * SIZE
    image, pen = _drawn_lines()
    for upper, lower in BROWS:
        top, bottom = texture[list(upper)], texture[list(lower)]
        for along, across, jitter in rng.uniform(0, 1, (900, 3)):
            # The mesh's brow is broad: the painted one keeps to its middle and tapers to both ends, more to the temple.
            spread = 0.74 * min(1.0, 0.30 + 2.2 * along, 0.50 + 2.4 * (1 - along))
            across = 0.55 + (across - 0.5) * spread
            start = _between(top, along * 4) * (1 - across) + _between(bottom, along * 4) * across
            # ``along`` runs from the temple to the nose, where hairs stand up; elsewhere they lie along the brow.
            rise = np.radians(8 + 62 * np.clip((along - 0.7) / 0.3, 0, 1) + 22 * (jitter - 0.5) + 16 * (across - 0.5))
            flow = _between(top, along * 4 - 0.3) - _between(top, along * 4 + 0.3)
            flow = flow / np.linalg.norm(flow)
            stroke = np.cos(rise) * flow + np.sin(rise) * np.array([0, -1])
            end = start + stroke * (24 + 16 * jitter)
            edge = np.clip(min(along / 0.12, (1 - along) / 0.14), 0.25, 1)
            pen.line([tuple(start), tuple(end)], fill=int((120 + 110 * jitter) * edge), width=4)
    from PIL import ImageFilter

    share = _as_share(image.filter(ImageFilter.GaussianBlur(1.6)))
    return blend(picture, tuple(np.array(palette.hair) * 0.62), 0.90 * share)


def _between(points: Float[np.ndarray, "5 2"], at: float) -> Float[np.ndarray, "2"]:
    return np.array([np.interp(at, range(5), points[:, axis]) for axis in (0, 1)])


def _pouch(picture):
    """The strip for the mouth's pouch: wet red behind the lips, nearly black in the depth."""
    first = int(0.968 * SIZE)
    depth = np.linspace(0, 1, SIZE - first)[:, None, None]
    wet, dark = np.array([0.60, 0.27, 0.26]), np.array([0.20, 0.055, 0.06])
    picture[first:] = dark + (wet - dark) * np.clip(1 - depth * 1.3, 0, 1) ** 1.6
    return picture
