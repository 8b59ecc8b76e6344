"""Head poses against exact ones: noise, false landmarks, blinks that shift the whole face, gaps, sudden turns."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from talksplat.prepare.expression import EYELIDS, eye_opening
from talksplat.prepare.face import track
from talksplat.prepare.headpose import RIGID, HeadPoses, canonical_face, closing_eyes, solve_head_poses
from talksplat.prepare.smoothing import smooth

FOCAL, CENTER = 1100.0, np.array([250.0, 270.0])
BLINKS = tuple(range(30, 400, 45))


@dataclass(frozen=True)
class Truth:
    """A head in motion and its exact projections."""

    rotations: np.ndarray
    translations: np.ndarray
    landmarks: np.ndarray


def person() -> np.ndarray:
    """A face that differs smoothly from the canonical one, by 3 mm or so."""
    face = canonical_face()
    waves = np.random.default_rng(3).normal(0, 25, (3, 3))
    return face + 0.003 * np.sin(face @ waves)


def moving_head(count: int = 400, turn: float = 20.0) -> Truth:
    time = np.arange(count) / 25
    angles = np.stack([6 * np.sin(2.1 * time), turn * np.sin(0.9 * time), 4 * np.sin(1.3 * time + 1)], 1)
    rotations = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    translations = np.stack([0.02 * np.sin(0.7 * time), 0.01 * np.sin(1.1 * time), 0.8 + 0.02 * np.sin(0.5 * time)], 1)
    return Truth(rotations, translations, projections(rotations, translations))


def projections(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    points = person() @ rotations.transpose(0, 2, 1) + translations[:, None]
    pixels = np.zeros((len(rotations), 478, 3), np.float32)
    pixels[:, :468, :2] = FOCAL * points[..., :2] / points[..., 2:] + CENTER
    pixels[:, :468, 2] = (points[..., 2] - translations[:, None, 2]) * FOCAL / 0.8
    return pixels


def noisy(landmarks: np.ndarray, blink_pulse: float = 0.02) -> np.ndarray:
    """Landmarks with the errors of a real landmarker: jitter, some false ones, and blinks that swell the face."""
    random = np.random.default_rng(5)
    found = landmarks.copy()
    found[..., :2] += random.normal(0, 0.5, found[..., :2].shape)
    found[..., :2] += random.normal(0, 0.15, (len(found), 1, 2))
    false = random.uniform(size=found.shape[:2]) < 0.02
    found[..., :2][false] += random.normal(0, 15, (false.sum(), 2))
    middle = landmarks[:, list(RIGID), :2].mean(1, keepdims=True)
    for start in (blink for blink in BLINKS if blink + 6 < len(found)):
        for frame, closed in zip(range(start, start + 6), (0.4, 1, 1, 0.8, 0.5, 0.2), strict=True):
            found[frame, :, :2] += blink_pulse * closed * (found[frame, :, :2] - middle[frame])
            for rim in EYELIDS:
                lid, line = list(rim), found[frame, rim[0], 1]
                found[frame, lid, 1] += np.float32(closed) * (line - found[frame, lid, 1])
    return found


def solved(landmarks: np.ndarray, detected: np.ndarray | None = None) -> HeadPoses:
    seen = np.ones(len(landmarks), bool) if detected is None else detected
    return solve_head_poses(landmarks, seen, CENTER, 512)


def rotation_errors(poses: HeadPoses, truth: Truth) -> np.ndarray:
    """Degrees, apart from one constant turn: a face that is not the canonical one has no absolute front."""
    error = Rotation.from_matrix(truth.rotations).inv() * Rotation.from_matrix(poses.head_to_camera[:, :3, :3])
    return np.degrees((error * error.mean().inv()).magnitude())


def log_depth(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    return np.log((rotations @ person()[list(RIGID)].mean(0) + translations)[:, 2])


@pytest.fixture(scope="module")
def truth() -> Truth:
    return moving_head()


@pytest.fixture(scope="module")
def poses(truth: Truth) -> HeadPoses:
    return solved(noisy(truth.landmarks))


def test_exact_landmarks_give_exact_poses(truth: Truth):
    poses = solved(truth.landmarks)
    assert poses.reprojection.max() < 0.25
    assert rotation_errors(poses, truth).max() < 0.3
    assert poses.usable.all()


def test_rotations_hold_under_noise_and_false_landmarks(poses: HeadPoses, truth: Truth):
    errors = rotation_errors(poses, truth)
    assert errors.mean() < 0.2
    assert errors.max() < 0.5


def test_focal_length_is_found_from_a_turning_head(poses: HeadPoses):
    assert poses.intrinsics[0, 0] == pytest.approx(FOCAL, rel=0.1)
    assert poses.intrinsics[:2, 2] == pytest.approx(CENTER)


def test_blinks_do_not_change_the_size_of_the_head(poses: HeadPoses, truth: Truth):
    found = log_depth(poses.head_to_camera[:, :3, :3], poses.head_to_camera[:, :3, 3])
    error = found - log_depth(truth.rotations, truth.translations)
    shut = np.isin(np.arange(len(error)), [blink + 2 for blink in BLINKS])
    around = np.isin(np.arange(len(error)), [blink - 8 for blink in BLINKS])
    # The landmarks swell by 2 %.
    assert abs(error[shut].mean() - error[around].mean()) < 0.001
    assert np.abs(np.diff(error)).max() < 0.001


def test_gauge_is_that_of_the_canonical_face(poses: HeadPoses):
    eyes = np.linalg.norm(poses.shape[33] - poses.shape[263])
    canonical = canonical_face()
    assert eyes == pytest.approx(np.linalg.norm(canonical[33] - canonical[263]), rel=1e-5)
    assert np.linalg.norm(poses.shape[list(RIGID)] - canonical[list(RIGID)], axis=1).mean() < 0.005
    assert poses.scale == pytest.approx(1, abs=0.08)


def test_poses_are_rigid_and_face_the_camera(poses: HeadPoses):
    rotations = poses.head_to_camera[:, :3, :3].astype(np.float64)
    assert np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() < 1e-5
    assert (np.linalg.det(rotations) > 0).all()
    assert (rotations[:, 2, 2] > 0.8).all()


def test_twice_the_picture_is_the_same_head(truth: Truth, poses: HeadPoses):
    twice = solve_head_poses(2 * noisy(truth.landmarks), np.ones(400, bool), 2 * CENTER, 1024)
    assert twice.intrinsics[0, 0] == pytest.approx(2 * poses.intrinsics[0, 0], rel=1e-3)
    assert np.abs(twice.head_to_camera - poses.head_to_camera).max() < 1e-3


def test_sudden_turns_and_jitter(monkeypatch: pytest.MonkeyPatch):
    """A turn of 20 degrees within five frames keeps its time and shape; all else is steadier than frame by frame."""
    still = moving_head(200, turn=0)
    yaw = 20 * np.clip((np.arange(200) - 100) / 5, 0, 1)
    turn = Rotation.from_euler("xyz", np.outer(yaw, [0, 1, 0]), degrees=True)
    rotations = turn.as_matrix() @ still.rotations
    truth = Truth(rotations, still.translations, projections(rotations, still.translations))
    found = noisy(truth.landmarks, blink_pulse=0.0)
    ours = solved(found)
    monkeypatch.setattr("talksplat.prepare.headpose.smooth", lambda measured, *_: measured)
    frame_by_frame = solved(found)
    assert rotation_errors(ours, truth)[95:110].max() < 1.5
    assert unrest(ours, truth) < 0.5 * unrest(frame_by_frame, truth)


def unrest(poses: HeadPoses, truth: Truth) -> float:
    """Mean second difference of the nose bridge's error, pixels, apart from the turn."""
    error = _projected(poses, 6) - truth.landmarks[:, 6, :2]
    return float(np.linalg.norm(np.diff(error, 2, axis=0), axis=1)[np.r_[:90, 110:198]].mean())


def _projected(poses: HeadPoses, index: int) -> np.ndarray:
    seen = poses.head_to_camera[:, :3, :3] @ poses.shape[index] + poses.head_to_camera[:, :3, 3]
    pixels = seen @ poses.intrinsics.T
    return pixels[:, :2] / pixels[:, 2:]


def test_frames_without_a_face_are_interpolated_and_named(truth: Truth):
    detected = np.ones(400, bool)
    detected[100:108] = False
    landmarks = noisy(truth.landmarks)
    landmarks[100:108] = 0
    poses = solved(landmarks, detected)
    assert rotation_errors(poses, truth)[100:108].max() < 1.5
    assert poses.unusable == tuple((frame, "no face found") for frame in range(100, 108))
    assert (np.flatnonzero(~poses.usable) == np.arange(100, 108)).all()


def test_false_detections_are_left_out_and_named(truth: Truth):
    landmarks = noisy(truth.landmarks)
    landmarks[200, :, :2] += 60
    landmarks[300, :, :2] = landmarks[300, ::-1, :2]
    poses = solved(landmarks)
    assert {frame for frame, _ in poses.unusable} == {200, 300}
    assert rotation_errors(poses, truth).max() < 0.7


def test_eyes_close_where_they_blink_and_not_where_the_head_turns(truth: Truth):
    closing = closing_eyes(noisy(truth.landmarks))
    shut = np.zeros(400, bool)
    for blink in BLINKS:
        shut[blink + 1 : blink + 3] = True
        assert closing[blink + 1 : blink + 3].min() > 0.7
    assert np.median(closing[~shut]) < 0.05


def test_smoothing_keeps_straight_lines_and_has_no_direction():
    line = np.linspace(-3, 5, 50)
    trust = np.random.default_rng(0).uniform(0.01, 1, 50)
    assert smooth(line, trust, 0.1, 0.01) == pytest.approx(line, abs=1e-6)
    walk = np.cumsum(np.random.default_rng(1).normal(size=50))
    backwards = smooth(walk[::-1].copy(), trust[::-1].copy(), 0.5, 0.2)[::-1]
    assert smooth(walk, trust, 0.5, 0.2) == pytest.approx(backwards, abs=1e-6)


def test_short_tracks_come_back_as_they_are():
    for count in (1, 2):
        assert smooth(np.arange(count, dtype=float), np.ones(count), 1.0, 1.0).tolist() == list(range(count))


@pytest.mark.clips
def test_real_head_is_steadier_than_its_landmarks(clips: Path):
    with av.open(str(clips / "presenter-71s.mp4")) as container:
        frames = zip(range(100), container.decode(video=0), strict=False)
        pictures = [frame.to_ndarray(format="rgb24") for _, frame in frames]
    faces = track(pictures.__getitem__, len(pictures))
    poses = solve_head_poses(faces.landmarks, faces.detected, np.array([256.0, 256.0]), 512)
    assert poses.usable.all()
    assert np.median(poses.reprojection) < 1.2
    raw = faces.landmarks[:, list(RIGID), :2]
    ours = np.stack([_projected(poses, index) for index in RIGID], 1)
    jitter = [np.linalg.norm(np.diff(track, 2, axis=0), axis=-1).mean() for track in (raw, ours)]
    assert jitter[1] < 0.75 * jitter[0]
    depth = np.log(poses.head_to_camera[:, 2, 3])
    assert np.abs(np.diff(depth, 2)).max() < 0.004
    assert np.corrcoef(eye_opening(faces.landmarks), faces.blendshapes[:, 9:11].mean(1))[0, 1] < -0.6
