"""Actions of the face (jaw, lips, lids, brows) and the shape of the face when several act at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from jaxtyping import Float

from talksplat.synthetic.face import (
    BROWS,
    EYE_CENTERS,
    EYE_CORNERS,
    EYE_RADIUS,
    JAW_AXIS,
    LID_FOLDS,
    LID_THICKNESS,
    LOWER_INNER,
    LOWER_LIDS,
    LOWER_RINGS,
    UPPER_INNER,
    UPPER_LIDS,
    UPPER_RINGS,
    face_topology,
    fine_face,
    spreading,
)

FULL_JAW = 0.26
"""Radians that the jaw turns at jaw = 1."""


@dataclass(frozen=True)
class Expression:
    """How far each action goes: 0 is rest, 1 is full."""

    jaw: float = 0.0
    """Jaw turned down by 15 degrees."""
    rounding: float = 0.0
    """Corners together, lips forward, as for u."""
    spreading: float = 0.0
    """Corners apart, as for i."""
    upper_lip: float = 0.0
    """Upper lip raised."""
    lower_lip: float = 0.0
    """Lower lip lowered."""
    tuck: float = 0.0
    """Lower lip under the upper teeth, as for f."""
    press: float = 0.0
    """Lips pressed on each other, as for p."""
    seal: float = 1.0
    """Rims of the lips drawn together; at 1 they coincide exactly."""
    tongue: float = 0.0
    """Tip of the tongue raised to the teeth, as for l."""
    blink: float = 0.0
    """Lids; at 1 they coincide exactly."""
    brows: float = 0.0
    """Brows raised."""
    frown: float = 0.0
    """Brows lowered and drawn together."""
    smile: float = 0.0
    """Corners up and back."""


ACTIONS = tuple(field.name for field in fields(Expression))


def _lip_handles(move) -> dict[int, np.ndarray]:
    """Displacements of all lip vertices: ``move(x, along, ring, side)``.

    ``along`` runs from 0 in the middle to 1 in the corners, ``ring`` from 0 on the inner rim to 3 on the outer,
    ``side`` is +1 on the upper lip and -1 on the lower, 0 at the corners.
    """
    rest = face_topology().vertices
    handles = {}
    for side, rings in ((1, (UPPER_INNER, *UPPER_RINGS)), (-1, (LOWER_INNER, *LOWER_RINGS))):
        for ring, row in enumerate(rings):
            for vertex in row:
                x = rest[vertex, 0]
                along = min(1.0, abs(x / rest[row[0], 0]))
                corner = vertex in (row[0], row[-1])
                handles[vertex] = np.array(move(x, along, ring, 0 if corner else side), dtype=float)
    return handles


def _still(beyond: float) -> dict[int, np.ndarray]:
    """Vertices that no lip action moves: above the base of the nose, and farther than ``beyond`` from the mouth."""
    rest = face_topology().vertices
    away = np.linalg.norm(rest[:, :2] - (0, -4.2), axis=1)
    return {int(v): np.zeros(3) for v in np.flatnonzero((rest[:, 1] > -1.6) & (away > 2.5) | (away > beyond))}


def _lip_field(move, beyond: float = 4.6) -> Float[np.ndarray, "468 3"]:
    return spreading().field({**_still(beyond), **_lip_handles(move)})


def _jaw_weights() -> Float[np.ndarray, " 468"]:
    """1 where the skin follows the jaw, 0 where it stays with the skull."""
    rest = face_topology().vertices
    rim = {152: 1, 148: 1, 176: 1, 149: 0.97, 150: 0.92, 136: 0.82, 172: 0.62, 58: 0.4, 132: 0.2, 93: 0.06, 234: 0}
    mirrored = {377: 148, 400: 176, 378: 149, 379: 150, 365: 136, 397: 172, 288: 58, 361: 132, 323: 93, 454: 234}
    values = {**rim, **{left: rim[right] for left, right in mirrored.items()}}
    values |= dict.fromkeys((175, 199, 200, 18, 83, 313, 201, 421, 208, 428), 1.0)
    corner = 0.36

    def profile(x, along, ring, side):
        lower = corner + (1 - corner) * (1 - along**2.2)
        return [{1: corner * along**3, -1: lower, 0: corner}[side]]

    handles = {v: np.array([w]) for v, w in values.items()}
    handles |= _lip_handles(profile)
    handles |= {int(v): np.zeros(1) for v in np.flatnonzero(rest[:, 1] > -0.5)}
    handles |= {v: np.zeros(1) for v in (2, 98, 327, 97, 326, 164)}
    return np.clip(spreading().field(handles)[:, 0], 0, 1.02)


def _lip_fields() -> dict[str, Float[np.ndarray, "468 3"]]:
    """Displacements, centimetres, of the lips' actions at 1 and of what they draw along."""

    def middle(along: float) -> float:
        return 1 - along**2

    def pucker(x, along, ring, side):
        return [-0.36 * x, -0.06 * side * ring, 0.55 + 0.42 * along**2]

    def spread(x, along, ring, side):
        return [0.17 * x, 0.10 * along**2 - 0.05 * side * ring * middle(along) / 3, -0.12 - 0.15 * along**2]

    def upward(x, along, ring, side):
        return [0, 0.42 * middle(along) if side > 0 else 0, 0.04 * middle(along)]

    def downward(x, along, ring, side):
        return [0, -0.55 * middle(along) if side < 0 else 0, 0.06 * middle(along)]

    def under(x, along, ring, side):
        return (
            [0, (0.34 - 0.04 * ring) * middle(along), (-0.42 + 0.1 * ring) * middle(along)] if side < 0 else [0, 0, 0]
        )

    def together(x, along, ring, side):
        return [0.02 * x, -0.06 * side * ring * (0.4 + 0.6 * middle(along)), -0.05 - 0.03 * ring]

    def cheerful(x, along, ring, side):
        return [0.15 * x, 0.42 * along**2 - 0.05, -0.22 * along**2 - 0.04]

    moves = {
        "rounding": pucker,
        "spreading": spread,
        "upper_lip": upward,
        "lower_lip": downward,
        "tuck": under,
        "press": together,
        "smile": cheerful,
    }
    return {name: _lip_field(move, 5.5 if name == "smile" else 4.6) for name, move in moves.items()}


def _brow_fields() -> dict[str, Float[np.ndarray, "468 3"]]:
    rest = face_topology().vertices
    raised, drawn = {}, {}
    for sign, brow in zip((-1, 1), BROWS, strict=True):
        for edge in brow:
            for order, vertex in enumerate(edge):
                raised[vertex] = np.array([0, 0.42 + 0.05 * min(order, 3), -0.04])
                drawn[vertex] = np.array([-0.14 * sign, -0.16 - 0.05 * order, 0.05])
    still = {int(v): np.zeros(3) for v in np.flatnonzero((rest[:, 1] < 3.35) | (rest[:, 1] > 7.0))}
    still |= {vertex: np.zeros(3) for vertex in face_topology().oval}
    return {"brows": spreading().field({**still, **raised}), "frown": spreading().field({**still, **drawn})}


def _lid_field(neutral: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "468 3"]:
    """A closed lid: both rims meet on one line near the lower lid."""
    handles = {}
    for upper, lower, fold, corners in zip(UPPER_LIDS, LOWER_LIDS, LID_FOLDS, EYE_CORNERS, strict=True):
        handles |= {vertex: np.zeros(3) for vertex in corners}
        for above, below, crease in zip(upper, lower, fold, strict=True):
            meeting = 0.22 * neutral[above] + 0.78 * neutral[below]
            handles[above], handles[below] = meeting - neutral[above], meeting - neutral[below]
            handles[crease] = 0.45 * (meeting - neutral[above])
    near = [v for row in (*UPPER_LIDS, *LID_FOLDS) for v in row]
    distance = np.linalg.norm(neutral[:, None, :2] - neutral[near][None, :, :2], axis=-1).min(1)
    still = {int(v): np.zeros(3) for v in np.flatnonzero(distance > 0.95)}
    return spreading().field({**still, **handles})


@dataclass(frozen=True)
class FaceRig:
    """The fields of all actions, computed once."""

    neutral: Float[np.ndarray, "468 3"]
    jaw: Float[np.ndarray, " 468"]
    linear: dict[str, Float[np.ndarray, "468 3"]]
    sealing: Float[np.ndarray, "468 rims"]
    """From displacements of the lips' inner rims (upper then lower, corners left out) to all vertices."""

    def coarse(self, expression: Expression) -> Float[np.ndarray, "468 3"]:
        """Vertices of the canonical mesh under ``expression``, centimetres."""
        shape = self.neutral.copy()
        for name, field in self.linear.items():
            shape += getattr(expression, name) * field
        shape = turned_about_jaw(shape, FULL_JAW * expression.jaw * self.jaw)
        return self._sealed(shape, expression.seal)

    def fine(self, expression: Expression) -> Float[np.ndarray, "fine 3"]:
        """The smooth face; lids are kept outside of the eyeballs. The first 468 vertices are the exact landmarks."""
        shape = fine_face().weights @ self.coarse(expression).astype(np.float32)
        for center in EYE_CENTERS.astype(np.float32):
            arm = shape - center
            distance = np.linalg.norm(arm, axis=1, keepdims=True)
            least = EYE_RADIUS + LID_THICKNESS
            shape = np.where((distance < least) & (arm[:, 2:] > 0), center + arm * (least / distance), shape)
        return shape

    def _sealed(self, shape, seal: float):
        upper, lower = list(UPPER_INNER[1:-1]), list(LOWER_INNER[1:-1])
        middle = 0.45 * shape[upper] + 0.55 * shape[lower]
        pull = np.concatenate([middle - shape[upper], middle - shape[lower]])
        sealed = shape + seal * (self.sealing @ pull)
        if seal == 1.0:  # rounding must not leave a gap of a hair's breadth
            sealed[upper] = sealed[lower] = middle
        return sealed


def turned_about_jaw(points, angle) -> Float[np.ndarray, "N 3"]:
    """Points turned about the jaw's axis by angles (radians, one each), chin down and back."""
    arm = points - JAW_AXIS
    cos, sin = np.cos(angle), np.sin(angle)
    y = cos * arm[:, 1] - sin * arm[:, 2]
    z = sin * arm[:, 1] + cos * arm[:, 2]
    return np.stack([arm[:, 0], y, z], -1) + JAW_AXIS


def _neutral() -> Float[np.ndarray, "468 3"]:
    """The canonical face with eyes a little wider open."""
    rest = face_topology().vertices.copy()
    lift = {v: np.zeros(3) for corners in EYE_CORNERS for v in corners}
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        for order, (above, below) in enumerate(zip(upper, lower, strict=True)):
            bulge = np.sin(np.pi * (order + 1) / 8)
            lift[above], lift[below] = np.array([0, 0.20 * bulge, 0.03]), np.array([0, -0.10 * bulge, 0.0])
    near = list(lift)
    distance = np.linalg.norm(rest[:, None] - rest[near][None], axis=-1).min(1)
    still = {int(v): np.zeros(3) for v in np.flatnonzero(distance > 0.9)}
    return rest + spreading().field({**still, **lift})


@cache
def face_rig() -> FaceRig:
    """The one rig; every synthetic person has this face."""
    rims = [*UPPER_INNER[1:-1], *LOWER_INNER[1:-1]]
    outer = [v for ring in (UPPER_RINGS[-1], LOWER_RINGS[-1]) for v in ring]
    rest = face_topology().vertices
    away = np.linalg.norm(rest[:, :2] - (0, -4.2), axis=1)
    fixed = sorted({*np.flatnonzero(away > 3.4).tolist(), *outer, UPPER_INNER[0], UPPER_INNER[-1]} - set(rims))
    sealing = spreading().weights(rims + fixed)[:, : len(rims)]
    neutral = _neutral()
    linear = {**_lip_fields(), **_brow_fields(), "blink": _lid_field(neutral)}
    return FaceRig(neutral=neutral, jaw=_jaw_weights(), linear=linear, sealing=sealing)
