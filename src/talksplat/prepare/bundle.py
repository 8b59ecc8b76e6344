"""Bundle adjustment of a rigid set of landmarks: one shape and one focal length for all frames, one pose a frame.

Gauss-Newton with the poses eliminated (Schur complement), so a step costs one 6 x 6 solve a frame and one solve of the
shared unknowns. Robust by reweighting with Cauchy's weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

STEPS = 30
POSE_STEPS = 8
"""Pose-only steps from a converged neighborhood; the change falls below 1e-6 after 4 to 6."""
CONVERGED = 1e-7
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

    def rows(self, index: np.ndarray) -> Bundle:
        """The bundle of some frames."""
        return replace(self, rotations=self.rotations[index], translations=self.translations[index])


def adjust(observed: Float[np.ndarray, "T N 2"], prior: Prior) -> Bundle:
    """Shape, focal length and poses that explain ``observed`` (pixels relative to the principal point) best."""
    bundle = first_guess(observed, prior)
    for _ in range(STEPS):
        bundle, change = _shared_step(bundle, observed, prior)
        if change < CONVERGED:
            break
    return bundle


def fit_poses(observed: Float[np.ndarray, "T N 2"], bundle: Bundle) -> Bundle:
    """Poses of every frame for the shape and focal length of ``bundle``, whose own poses are not used."""
    known = Prior(bundle.shape, 1.0, bundle.focal, 1.0)
    bundle = first_guess(observed, known)
    for _ in range(POSE_STEPS):
        jacobian, residual = _pose_jacobian(bundle, observed)
        weights = cauchy_weights(residual)
        normal, gradient = _pose_normals(jacobian, residual, weights)
        bundle = _moved(bundle, np.linalg.solve(normal, gradient[..., None])[..., 0])
    return bundle


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


def cauchy_weights(residual: Float[np.ndarray, "T N 2"]) -> Float[np.ndarray, "T N"]:
    """Weights in (0, 1] of Cauchy's loss at twice the median distance: points off the shape hardly count."""
    distance2 = (residual**2).sum(-1)
    return 1 / (1 + distance2 / max(4 * np.median(distance2), 1e-12))


def rotations_of_vectors(vectors: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3 3"]:
    """Rotation matrices of rotation vectors (axis times angle)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vectors).as_matrix()


def _shared_step(bundle: Bundle, observed: np.ndarray, prior: Prior) -> tuple[Bundle, float]:
    """One Gauss-Newton step of all unknowns; returns the largest change of shape (metres) and log focal length."""
    jacobian, residual = _pose_jacobian(bundle, observed)
    count = bundle.shape.shape[0]
    weights = cauchy_weights(residual)
    scale = max(float((weights[..., None] * residual**2).sum() / weights.sum()) / 2, 1e-8) * INDEPENDENT
    weights = weights / scale
    normal, gradient = _pose_normals(jacobian, residual, weights)

    by_shape = jacobian[..., 3:] @ bundle.rotations[:, None]
    by_focal = observed - residual
    mixed = np.empty((len(observed), 6, 3 * count + 1))
    mixed[..., :-1] = np.einsum("tn,tnki,tnkj->tinj", weights, jacobian, by_shape, optimize=True).reshape(
        -1, 6, 3 * count
    )
    mixed[..., -1] = np.einsum("tn,tnki,tnk->ti", weights, jacobian, by_focal, optimize=True)

    shared, pull = _shared_normals(by_shape, by_focal, residual, weights)
    diagonal = np.r_[np.full(3 * count, prior.shape_deviation**-2), prior.focal_deviation**-2]
    pull += diagonal * np.r_[(prior.shape - bundle.shape).ravel(), np.log(prior.focal / bundle.focal)]
    shared[np.diag_indices_from(shared)] += diagonal

    whitened = np.linalg.solve(np.linalg.cholesky(normal), np.concatenate([mixed, gradient[..., None]], -1))
    stacked = whitened.reshape(-1, 3 * count + 2)
    product = stacked[:, :-1].T @ stacked
    step = np.linalg.solve(shared - product[:, :-1], pull - product[:, -1])
    pose_step = np.linalg.solve(normal, (gradient - mixed @ step)[..., None])[..., 0]
    moved = replace(
        _moved(bundle, pose_step),
        shape=bundle.shape + step[:-1].reshape(-1, 3),
        focal=bundle.focal * float(np.exp(np.clip(step[-1], -0.3, 0.3))),
    )
    return moved, float(np.abs(step).max())


def _pose_jacobian(bundle: Bundle, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives "T N 2 6" of the projections by a turn about the head's origin and a shift, and the residuals."""
    turned = bundle.shape @ bundle.rotations.transpose(0, 2, 1)
    seen = turned + bundle.translations[:, None]
    inverse = bundle.focal / seen[..., 2]
    flat = seen[..., :2] / seen[..., 2:]
    jacobian = np.zeros((*flat.shape, 6))
    jacobian[..., 0, 3] = jacobian[..., 1, 4] = inverse
    jacobian[..., 5] = -inverse[..., None] * flat
    # A small turn w moves the point p by w x p.
    jacobian[..., :3] = np.cross(turned[..., None, :], jacobian[..., 3:])
    return jacobian, observed - bundle.focal * flat


def _pose_normals(jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames = len(residual)
    weighted = (jacobian * weights[..., None, None]).reshape(frames, -1, 6)
    rows = jacobian.reshape(frames, -1, 6)
    normal = weighted.transpose(0, 2, 1) @ rows
    gradient = (weighted.transpose(0, 2, 1) @ residual.reshape(frames, -1, 1))[..., 0]
    return normal, gradient


def _shared_normals(
    by_shape: np.ndarray, by_focal: np.ndarray, residual: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix "3N+1 3N+1" and gradient of shape and log focal length."""
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


def _moved(bundle: Bundle, step: np.ndarray) -> Bundle:
    """Poses after a turn about the head's origin and a shift; a step is at most half a radian and half the depth."""
    turn, shift = step[:, :3], step[:, 3:]
    room = 0.5 * bundle.translations[:, 2]
    limit = np.minimum(
        1,
        np.minimum(
            0.5 / np.maximum(np.linalg.norm(turn, axis=1), 1e-12),
            room / np.maximum(np.linalg.norm(shift, axis=1), 1e-12),
        ),
    )[:, None]
    rotations = rotations_of_vectors(turn * limit) @ bundle.rotations
    return replace(bundle, rotations=rotations, translations=bundle.translations + shift * limit)
