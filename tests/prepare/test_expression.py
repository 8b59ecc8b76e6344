"""Scales and invariances of the expression features."""

import numpy as np
import pytest

from talksplat.errors import UnsuitableFace
from talksplat.landmarks import BLENDSHAPES
from talksplat.prepare.expression import ACTION_UNITS, EYELIDS, SCALE, action_units, eye_opening, mouth_measures
from talksplat.prepare.headpose import canonical_face


def faces(count: int) -> np.ndarray:
    """Canonical faces in pixels, seen from the front."""
    points = np.zeros((478, 3))
    points[:468] = canonical_face() * 1300
    return np.tile(points.astype(np.float32), (count, 1, 1))


def with_opening(mouth: np.ndarray) -> np.ndarray:
    """Faces whose lower inner lip lies ``mouth`` eye distances under the upper one."""
    landmarks = faces(len(mouth))
    eyes = np.linalg.norm(landmarks[0, 33] - landmarks[0, 263])
    landmarks[:, 14] = landmarks[:, 13]
    landmarks[:, 14, 1] += (mouth * eyes).astype(np.float32)
    return landmarks


def turned(landmarks: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], np.float32)
    return landmarks @ turn.T


def test_units_are_five_times_the_mean_of_left_and_right_above_the_rest():
    shapes = np.full((100, 52), 0.1, np.float32)
    shapes[60, BLENDSHAPES.index("eyeBlinkLeft")] = 0.9
    shapes[60, BLENDSHAPES.index("eyeBlinkRight")] = 0.7
    shapes[70, BLENDSHAPES.index("browInnerUp")] = 0.5
    units = action_units(shapes, faces(100))
    assert units[60, ACTION_UNITS.index("AU45")] == pytest.approx(5 * (0.8 - 0.1), abs=1e-5)
    assert units[70, ACTION_UNITS.index("AU1")] == pytest.approx(5 * (0.5 - 0.1), abs=1e-5)
    others = np.delete(units, [60, 70], axis=0)
    assert np.abs(others).max() < 1e-5


def test_units_stay_within_their_scale():
    random = np.random.default_rng(0)
    shapes = random.uniform(0, 1, (50, 52)).astype(np.float32)
    units = action_units(shapes, with_opening(random.uniform(0, 1, 50)))
    assert units.min() >= 0
    assert units.max() <= SCALE


def test_lip_unit_grows_with_the_opening_and_has_no_lag():
    mouth = np.zeros(60)
    mouth[30] = 0.2
    units = action_units(np.zeros((60, 52), np.float32), with_opening(mouth))[:, ACTION_UNITS.index("AU25")]
    assert units[30] == pytest.approx(5 * 0.2 / 0.35, rel=1e-4)
    assert np.abs(np.delete(units, 30)).max() < 1e-5


def test_mouth_measures_do_not_depend_on_the_size_of_the_picture():
    landmarks = with_opening(np.linspace(0, 0.3, 9))
    measures = mouth_measures(landmarks)
    assert measures[:, 0] == pytest.approx(np.linspace(0, 0.3, 9), abs=1e-4)
    assert mouth_measures(landmarks * np.float32(2.5)) == pytest.approx(measures, rel=1e-4)


def test_mouth_measures_refuse_faces_without_extent():
    with pytest.raises(UnsuitableFace, match="expected a positive distance"):
        mouth_measures(np.zeros((3, 478, 3), np.float32))


def test_closed_eyes_measure_zero_and_open_ones_one():
    landmarks = faces(40)
    for rim in EYELIDS:
        landmarks[20, list(rim), 1] = landmarks[20, rim[0], 1]
    opening = eye_opening(landmarks)
    assert opening[20] == pytest.approx(0, abs=1e-4)
    assert np.delete(opening, 20) == pytest.approx(1, abs=1e-4)


def test_a_turn_to_the_side_is_no_blink():
    landmarks = np.concatenate([faces(20), turned(faces(20), 25)])
    opening = eye_opening(landmarks)
    assert opening[30] == pytest.approx(opening[5], rel=0.04)
