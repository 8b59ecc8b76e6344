"""A steady head: one face shape, one size and one focal length for the clip, one smooth rigid pose a frame.

Wobbling heads, and heads that pulse in size on a blink, come from poses fitted frame by frame to landmarks that move
with the expression. Here the poses rest on the landmarks that move least (:data:`RIGID`), share all that cannot change
within a clip, and are smoothed by what is known of the landmarker's noise and of the motion of heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32

from talksplat import weights
from talksplat.landmarks import EYE_CORNERS
from talksplat.prepare.bundle import Bundle, Prior, adjust, fit_poses, place_points, rotations_of_vectors
from talksplat.prepare.expression import eye_opening
from talksplat.prepare.smoothing import smooth

_MIDDLE = (151, 6, 197, 195, 5, 4, 1)
_PAIRS = (
    # Sides of the nose.
    (122, 351), (196, 419), (3, 248), (51, 281), (45, 275), (174, 399), (236, 456), (134, 363), (188, 412),
    (198, 420), (131, 360), (114, 343), (126, 355),
    # Cheekbones, below the eyes and out to the ears.
    (121, 350), (120, 349), (119, 348), (118, 347), (117, 346), (111, 340), (100, 329), (116, 345), (35, 265),
    (143, 372), (34, 264), (227, 447),
    # Temples and forehead.
    (139, 368), (156, 383), (71, 301), (21, 251), (162, 389), (127, 356), (68, 298), (54, 284), (104, 333),
    (69, 299), (108, 337),
)  # fmt: skip
RIGID = _MIDDLE + tuple(index for pair in _PAIRS for index in pair)
"""Landmarks that move least with speech, brows and blinks: on six real clips, those within 1 % of the distance of the
outer eye corners of a rigid head (rms) that shift by less than 0.5 % on a blink, thinned out on the nose. Brows (2 %),
eye corners (1.3 % on a blink), hairline and jaw are not among them."""
VERTICES = 468
SHAPE_DEVIATION = 0.004
"""Metres by which a coordinate of a person's face differs from the canonical one."""
FOCAL = 1.95
"""Focal length by the picture's edge before the clip is seen: 29 degrees, a head and shoulders from 0.7 m away. A clip
whose head hardly turns says little of it (within 1 % of the error from half to three times the best value)."""
FOCAL_DEVIATION = 0.25
KEY_FRAMES = 300
"""Frames that shape and focal length are found from."""
NOISE = np.array([0.0035, 0.0019, 0.0014, 0.0013, 0.0013, 0.0017])
"""Deviation of one frame's rotation about x, y and z (radians), position (by the distance of the outer eye corners in
the picture) and log depth: the white part of the tracks of six clips (spectrum flat above 6 Hz)."""
MOTION = NOISE * np.array([0.75, 0.75, 0.75, 2.0, 2.0, 0.35])
"""Scale of the second differences of the same. Chosen where the skin's texture under the fitted face changes least
from frame to frame on six clips: 7 to 27 % less than with unsmoothed poses. Heads change their distance slowest."""
BLINK_DISTRUST = 30.0
"""Growth of the noise of the depth with the closing of the eyes. A blink shifts the landmarks of the whole face: the
unsmoothed depth changes by up to 3 % (20 times its noise) while the lids are down, and the head does not."""
SECOND_OF_FRAMES = 25
MISFIT = (4.0, 0.03)
"""A frame is unusable from this many times the clip's median reprojection error, and this part of the eye distance."""
JUMP = np.array([0.15, 0.15, 0.15, 0.1, 0.1, 0.08])
"""A frame whose unsmoothed pose is this far from the median of the five around it is a false detection."""
ABSENT = 1e-4
"""Trust in poses that were interpolated over frames without a face."""


@dataclass(frozen=True)
class HeadPoses:
    """The head's motion through a clip, and the face that moves."""

    head_to_camera: Float32[np.ndarray, "T 4 4"]
    """Rigid transforms, metres; every frame has one, those of unusable frames are interpolated."""
    intrinsics: Float32[np.ndarray, "3 3"]
    """Focal length and principal point, pixels."""
    shape: Float32[np.ndarray, "468 3"]
    """The person's mean face, metres in the head's frame; the outer eye corners are 0.0889 apart."""
    reprojection: Float32[np.ndarray, " T"]
    """Root mean square distance of tracked and projected rigid landmarks, pixels."""
    scale: float
    """Size of the rigid part of ``shape`` against the canonical face with the same distance of the eye corners."""
    unusable: tuple[tuple[int, str], ...]
    """Frames that cannot be trusted, with the reason, in rising order."""

    @property
    def usable(self) -> Bool[np.ndarray, " T"]:
        """True where a frame is not among :attr:`unusable`."""
        mask = np.ones(len(self.reprojection), bool)
        mask[[frame for frame, _ in self.unusable]] = False
        return mask


def canonical_face() -> Float[np.ndarray, "468 3"]:
    """MediaPipe's canonical face in metres: x to the picture's right, y down, z away from the camera.

    Raises:
        MissingWeights: the shipped file is gone.
    """
    lines = weights.find("canonical-face").read_text().splitlines()
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float64)
    return vertices * [0.01, -0.01, -0.01]


def solve_head_poses(
    landmarks: Float[np.ndarray, "T 478 3"],
    detected: Bool[np.ndarray, " T"],
    principal_point: Float[np.ndarray, "2"],
    size: int,
) -> HeadPoses:
    """Head poses, focal length and face shape behind ``landmarks`` (pixels of the crop of edge ``size``).

    Bundle adjustment over key frames gives shape and focal length; every frame is then fitted to them, and the poses
    are smoothed over time. The world is the head's frame: origin, axes and scale of :func:`canonical_face`.
    """
    observed = np.asarray(landmarks[:, :VERTICES, :2], np.float64) - principal_point
    known = np.flatnonzero(detected)
    rigid = list(RIGID)
    canonical = canonical_face()

    key = known[np.unique(np.linspace(0, len(known) - 1, min(KEY_FRAMES, len(known))).round().astype(int))]
    prior = Prior(canonical[rigid], SHAPE_DEVIATION, FOCAL * size, FOCAL_DEVIATION)
    fitted = fit_poses(observed[known][:, rigid], adjust(observed[key][:, rigid], prior))
    shape = place_points(fitted, observed[known], canonical, SHAPE_DEVIATION)
    fitted, shape, scale = _in_canonical_frame(fitted, shape, canonical)

    eyes = float(np.median(_eye_distance(observed[known])))
    measured, reference = _pose_tracks(fitted, eyes)
    jumps = np.abs(measured - _median_of_five(measured)) > JUMP
    steady = ~jumps.any(1)
    full = _interpolated(measured[steady], known[steady], len(landmarks))
    trust = _trust(landmarks, detected, known[~steady])
    tracks = np.stack([smooth(full[:, i], trust[:, i], NOISE[i], MOTION[i]) for i in range(6)], 1)
    poses = _poses_of_tracks(tracks, fitted, reference, eyes)

    misfit = observed[:, rigid] - poses.projected()
    reprojection = np.sqrt((misfit**2).sum(-1).mean(1))
    return HeadPoses(
        head_to_camera=_matrices(poses),
        intrinsics=_intrinsics(poses.focal, principal_point),
        shape=shape.astype(np.float32),
        reprojection=reprojection.astype(np.float32),
        scale=scale,
        unusable=_unusable(reprojection, detected, known[~steady], eyes),
    )


def closing_eyes(landmarks: Float[np.ndarray, "T 478 3"]) -> Float[np.ndarray, " T"]:
    """How far the eyes are shut against the seconds around each frame: 0 as usual, 1 closed."""
    from scipy.ndimage import percentile_filter

    opening = eye_opening(landmarks.astype(np.float32)).astype(np.float64)
    usual = percentile_filter(opening, 70, size=2 * SECOND_OF_FRAMES + 1, mode="nearest")
    # A tenth is the unrest of open eyes, not a blink.
    return np.clip((usual - opening) / np.maximum(usual, 1e-6) - 0.1, 0, 1)


def _in_canonical_frame(bundle: Bundle, shape: np.ndarray, canonical: np.ndarray) -> tuple[Bundle, np.ndarray, float]:
    """The same poses and shape with the canonical face's origin, axes and distance of eye corners; and the scale."""
    first, second = EYE_CORNERS
    rigid = list(RIGID)
    gauge = np.linalg.norm(canonical[first] - canonical[second]) / np.linalg.norm(shape[first] - shape[second])
    from_, to = shape[rigid] * gauge, canonical[rigid]
    centered = from_ - from_.mean(0), to - to.mean(0)
    left, _, right = np.linalg.svd(centered[0].T @ centered[1])
    turn = (left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right).T
    shift = to.mean(0) - turn @ from_.mean(0)
    rotations = bundle.rotations @ turn.T
    moved = Bundle(
        rotations=rotations,
        translations=gauge * bundle.translations - rotations @ shift,
        shape=gauge * bundle.shape @ turn.T + shift,
        focal=bundle.focal,
    )
    return moved, gauge * shape @ turn.T + shift, float(np.sqrt((centered[0] ** 2).sum() / (centered[1] ** 2).sum()))


def _pose_tracks(bundle: Bundle, eyes: float) -> tuple[np.ndarray, np.ndarray]:
    """Poses as six nearly independent tracks "T 6", and the mean rotation they refer to.

    Rotation vector against the mean, picture position of the rigid points' center by the eye distance, log depth.
    """
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(bundle.rotations)
    reference = turns.mean()
    center = bundle.rotations @ bundle.shape.mean(0) + bundle.translations
    place = bundle.focal / eyes * center[:, :2] / center[:, 2:]
    tracks = np.concatenate([(reference.inv() * turns).as_rotvec(), place, np.log(center[:, 2:])], 1)
    return tracks, reference.as_matrix()


def _poses_of_tracks(tracks: np.ndarray, bundle: Bundle, reference: np.ndarray, eyes: float) -> Bundle:
    """Inverse of :func:`_pose_tracks`."""
    rotations = reference @ rotations_of_vectors(tracks[:, :3])
    depth = np.exp(tracks[:, 5:])
    center = np.concatenate([tracks[:, 3:5] * eyes / bundle.focal * depth, depth], 1)
    return replace(bundle, rotations=rotations, translations=center - rotations @ bundle.shape.mean(0))


def _median_of_five(tracks: np.ndarray) -> np.ndarray:
    from scipy.ndimage import median_filter

    return median_filter(tracks, size=(5, 1), mode="nearest")


def _interpolated(tracks: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """Tracks of all frames from those of the frames ``at``; the others are filled linearly."""
    return np.stack([np.interp(np.arange(count), at, column) for column in tracks.T], 1)


def _trust(landmarks: np.ndarray, detected: np.ndarray, jumps: np.ndarray) -> np.ndarray:
    """Certainty "T 6" of every frame's pose tracks by that of an ordinary frame."""
    trust = np.ones((len(landmarks), 6))
    trust[:, 5] = 1 / (1 + (BLINK_DISTRUST * closing_eyes(landmarks)) ** 2)
    trust[~detected] = ABSENT
    trust[jumps] = ABSENT
    return trust


def _unusable(
    reprojection: np.ndarray, detected: np.ndarray, jumps: np.ndarray, eyes: float
) -> tuple[tuple[int, str], ...]:
    typical = float(np.median(reprojection[detected]))
    limit = max(MISFIT[0] * typical, MISFIT[1] * eyes)
    reasons: dict[int, str] = {}
    for frame in np.flatnonzero(reprojection > limit):
        reasons[int(frame)] = f"the face does not fit the head: {reprojection[frame]:.1f} px, median {typical:.1f} px"
    for frame in jumps:
        reasons[int(frame)] = "the head jumps away and back within two frames"
    for frame in np.flatnonzero(~detected):
        reasons[int(frame)] = "no face found"
    return tuple(sorted(reasons.items()))


def _eye_distance(points: np.ndarray) -> np.ndarray:
    first, second = EYE_CORNERS
    return np.linalg.norm(points[:, first] - points[:, second], axis=-1)


def _matrices(poses: Bundle) -> Float32[np.ndarray, "T 4 4"]:
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(poses.rotations), 1, 1))
    matrices[:, :3, :3] = poses.rotations
    matrices[:, :3, 3] = poses.translations
    return matrices


def _intrinsics(focal: float, principal_point: np.ndarray) -> Float32[np.ndarray, "3 3"]:
    return np.array([[focal, 0, principal_point[0]], [0, focal, principal_point[1]], [0, 0, 1]], np.float32)
