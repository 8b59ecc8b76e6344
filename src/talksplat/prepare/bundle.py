"""Bundle adjustment of a rigid set of landmarks: one shape and one focal length for all frames, one pose a frame.

Levenberg-Marquardt with the poses eliminated (Schur complement): a step costs one 6 x 6 solve a frame and one solve
of the shared unknowns. Robust by reweighting with Cauchy's loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

STEPS = 30
CONVERGED = 1e-5
"""Relative gain of a step at which the adjustment ends."""
POSE_STEPS = 8
"""Pose-only steps from the orthographic guess; the change falls below 1e-6 after 4 to 6."""
PLACE_STEPS = 4
INDEPENDENT = 10
"""Frames that share one tracking error: the landmarker errs alike in like pictures, and a second of nearly the same
pose must not outvote the priors of shape and focal length 25 times."""


@dataclass(frozen=True)
class Prior:
    """What is known of shape and focal length before the clip is seen."""

    shape: Float[np.ndarray, "N 3"]
    """Mean positions in the head's frame, metres."""
    shape_deviation: float
    """Standard deviation of each coordinate, metres."""
    focal: float
    """Median of the focal length, pixels."""
    focal_deviation: float
    """Standard deviation of its natural logarithm."""


@dataclass(frozen=True)
class Bundle:
    """Estimates: ``x = principal_point + focal * project(rotation @ shape + translation)``."""

    rotations: Float[np.ndarray, "T 3 3"]
    translations: Float[np.ndarray, "T 3"]
    shape: Float[np.ndarray, "N 3"]
    focal: float

    def projected(self, shape: Float[np.ndarray, "M 3"] | None = None) -> Float[np.ndarray, "T M 2"]:
        """Positions of ``shape`` (by default the rigid one) relative to the principal point, pixels."""
        points = (self.shape if shape is None else shape) @ self.rotations.transpose(0, 2, 1)
        points = points + self.translations[:, None]
        return self.focal * points[..., :2] / points[..., 2:]


@dataclass(frozen=True)
class _Noise:
    """Cauchy's loss with its width, and the variance that makes the data comparable with the priors; pixels^2."""

    width2: float
    variance: float

    @classmethod
    def of(cls, residual: np.ndarray) -> _Noise:
        """The noise that the residuals "T N 2" show: points beyond twice the median distance hardly count."""
        width2 = max(4 * float(np.median((residual**2).sum(-1))), 1e-8)
        weights = cls(width2, 1.0).weights(residual)
        variance = float((weights[..., None] * residual**2).sum() / weights.sum()) / 2
        return cls(width2, INDEPENDENT * max(variance, 1e-8))

    def weights(self, residual: np.ndarray) -> np.ndarray:
        return 1 / ((1 + (residual**2).sum(-1) / self.width2) * self.variance)

    def cost(self, residual: np.ndarray) -> float:
        return 0.5 * self.width2 / self.variance * float(np.log1p((residual**2).sum(-1) / self.width2).sum())


def adjust(observed: Float[np.ndarray, "T N 2"], prior: Prior) -> Bundle:
    """Shape, focal length and poses that explain ``observed`` (pixels relative to the principal point) best."""
    bundle = first_guess(observed, prior)
    damping = 1e-3
    for _ in range(STEPS):
        noise = _Noise.of(observed - bundle.projected())
        cost = _cost(bundle, observed, prior, noise)
        candidate = _shared_step(bundle, observed, prior, noise, damping)
        gain = cost - _cost(candidate, observed, prior, noise)
        damping *= 0.2 if gain > 0 else 8
        if gain > 0:
            bundle = candidate
            if gain < CONVERGED * cost:
                break
    return bundle


def fit_poses(observed: Float[np.ndarray, "T N 2"], bundle: Bundle) -> Bundle:
    """Poses of every frame for the shape and focal length of ``bundle``, whose own poses are not used."""
    bundle = first_guess(observed, Prior(bundle.shape, 1.0, bundle.focal, 1.0))
    for _ in range(POSE_STEPS):
        jacobian, residual = _pose_jacobian(bundle, observed)
        weights = _Noise.of(residual).weights(residual)
        normal, gradient = _pose_normals(jacobian, residual, weights)
        bundle = _moved(bundle, np.linalg.solve(normal, gradient[..., None])[..., 0], bundle.shape)
    return bundle


def place_points(
    bundle: Bundle, observed: Float[np.ndarray, "T M 2"], prior: Float[np.ndarray, "M 3"], deviation: float
) -> Float[np.ndarray, "M 3"]:
    """Mean positions (metres) of points that need not be rigid, from the poses of ``bundle`` and a prior position."""
    points = prior
    for _ in range(PLACE_STEPS):
        by_shift, residual = _shift_jacobian(replace(bundle, shape=points), observed)
        by_point = by_shift @ bundle.rotations[:, None]
        weights = _Noise.of(residual).weights(residual)
        normal = np.einsum("tn,tnki,tnkj->nij", weights, by_point, by_point, optimize=True) + np.eye(3) / deviation**2
        pull = (
            np.einsum("tn,tnki,tnk->ni", weights, by_point, residual, optimize=True) + (prior - points) / deviation**2
        )
        points = points + np.linalg.solve(normal, pull[..., None])[..., 0]
    return points


def first_guess(observed: Float[np.ndarray, "T N 2"], prior: Prior) -> Bundle:
    """Poses under scaled orthography, from the affine camera that maps the prior shape onto each frame."""
    center = prior.shape.mean(0)
    affine = np.einsum("dn,tnk->tkd", np.linalg.pinv(prior.shape - center), observed)
    left, scales, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotations = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    depth = prior.focal / scales.mean(1)
    middle = observed.mean(1) * (depth / prior.focal)[:, None]
    translations = np.concatenate([middle, depth[:, None]], 1) - rotations @ center
    return Bundle(rotations, translations, prior.shape, prior.focal)


def rotations_of_vectors(vectors: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3 3"]:
    """Rotation matrices of rotation vectors (axis times angle)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vectors).as_matrix()


def _cost(bundle: Bundle, observed: np.ndarray, prior: Prior, noise: _Noise) -> float:
    shape = ((bundle.shape - prior.shape) ** 2).sum() / prior.shape_deviation**2
    focal = (np.log(bundle.focal / prior.focal) / prior.focal_deviation) ** 2
    return noise.cost(observed - bundle.projected()) + 0.5 * float(shape + focal)


def _shared_step(bundle: Bundle, observed: np.ndarray, prior: Prior, noise: _Noise, damping: float) -> Bundle:
    """One damped step of all unknowns."""
    jacobian, residual = _pose_jacobian(bundle, observed)
    weights = noise.weights(residual)
    normal, gradient = _pose_normals(jacobian, residual, weights)
    normal = normal * (1 + damping * np.eye(6))
    by_shape = jacobian[..., 3:] @ bundle.rotations[:, None]
    by_focal = observed - residual

    shared, pull = _shared_normals(by_shape, by_focal, residual, weights)
    shared[np.diag_indices_from(shared)] *= 1 + damping
    certainty = np.r_[np.full(bundle.shape.size, prior.shape_deviation**-2), prior.focal_deviation**-2]
    shared[np.diag_indices_from(shared)] += certainty
    pull += certainty * np.r_[(prior.shape - bundle.shape).ravel(), np.log(prior.focal / bundle.focal)]

    mixed = np.concatenate(
        [
            np.einsum("tn,tnki,tnkj->tinj", weights, jacobian, by_shape, optimize=True).reshape(len(normal), 6, -1),
            np.einsum("tn,tnki,tnk->ti", weights, jacobian, by_focal, optimize=True)[..., None],
        ],
        -1,
    )
    # Inverses of 6 x 6 matrices: a solve with 240 right-hand sides a frame is several times slower.
    whitened = np.linalg.inv(np.linalg.cholesky(normal)) @ np.concatenate([mixed, gradient[..., None]], -1)
    stacked = whitened.reshape(-1, whitened.shape[-1])
    product = stacked[:, :-1].T @ stacked
    step = np.linalg.solve(shared - product[:, :-1], pull - product[:, -1])
    pose_step = np.linalg.solve(normal, (gradient - mixed @ step)[..., None])[..., 0]
    return replace(
        _moved(bundle, pose_step, bundle.shape + step[:-1].reshape(-1, 3)),
        focal=bundle.focal * float(np.exp(np.clip(step[-1], -1, 1))),
    )


def _pose_jacobian(bundle: Bundle, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives "T N 2 6" of the projections by a turn about the points' center and a shift, and the residuals."""
    by_shift, residual = _shift_jacobian(bundle, observed)
    turned = (bundle.shape - bundle.shape.mean(0)) @ bundle.rotations.transpose(0, 2, 1)
    # A small turn w moves the point p by w x p.
    by_turn = np.cross(turned[..., None, :], by_shift)
    return np.concatenate([by_turn, by_shift], -1), residual


def _shift_jacobian(bundle: Bundle, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives "T N 2 3" of the projections by a shift of the points in the camera's frame, and the residuals."""
    seen = bundle.shape @ bundle.rotations.transpose(0, 2, 1) + bundle.translations[:, None]
    inverse = bundle.focal / seen[..., 2]
    flat = seen[..., :2] / seen[..., 2:]
    jacobian = np.zeros((*flat.shape, 3))
    jacobian[..., 0, 0] = jacobian[..., 1, 1] = inverse
    jacobian[..., 2] = -inverse[..., None] * flat
    return jacobian, observed - bundle.focal * flat


def _pose_normals(jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrices "T 6 6" and gradients "T 6" of the poses."""
    frames = len(residual)
    weighted = (jacobian * weights[..., None, None]).reshape(frames, -1, 6).transpose(0, 2, 1)
    return weighted @ jacobian.reshape(frames, -1, 6), (weighted @ residual.reshape(frames, -1, 1))[..., 0]


def _shared_normals(
    by_shape: np.ndarray, by_focal: np.ndarray, residual: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix "3N+1 3N+1" and gradient "3N+1" of shape and log focal length."""
    count = by_shape.shape[1]
    shared = np.zeros((3 * count + 1, 3 * count + 1))
    blocks = np.einsum("tn,tnki,tnkj->nij", weights, by_shape, by_shape, optimize=True)
    for point in range(count):
        shared[3 * point : 3 * point + 3, 3 * point : 3 * point + 3] = blocks[point]
    cross = np.einsum("tn,tnki,tnk->ni", weights, by_shape, by_focal, optimize=True).ravel()
    shared[:-1, -1] = shared[-1, :-1] = cross
    shared[-1, -1] = (weights[..., None] * by_focal**2).sum()
    pull = np.einsum("tn,tnki,tnk->ni", weights, by_shape, residual, optimize=True).ravel()
    return shared, np.r_[pull, (weights[..., None] * by_focal * residual).sum()]


def _moved(bundle: Bundle, step: np.ndarray, shape: np.ndarray) -> Bundle:
    """Poses after turns about the center of the points and its shifts, "T 6", for the new ``shape``.

    The shift is applied to picture position and log depth: depth and focal length, which a head that hardly turns
    leaves nearly exchangeable, then trade along a straight line, and steps may be long.
    """
    rotations = rotations_of_vectors(step[:, :3]) @ bundle.rotations
    center = bundle.rotations @ bundle.shape.mean(0) + bundle.translations
    flat = center / center[:, 2:]
    shift = step[:, 3:] / center[:, 2:]
    flat = flat + shift - flat * shift[:, 2:]
    center = flat * (center[:, 2:] * np.exp(shift[:, 2:]))
    return replace(bundle, rotations=rotations, translations=center - rotations @ bundle.shape.mean(0), shape=shape)
