"""Landmark figures: invariances, and values of mouths made by hand."""

import numpy as np
import pytest

from talksplat.metrics.face import (
    LIPS,
    interocular,
    lip_opening,
    lip_width,
    mouth_distance,
    relative_mouth_distance,
)


@pytest.fixture
def landmarks() -> np.ndarray:
    return np.random.default_rng(0).uniform(100, 400, (20, 478, 3))


def test_mouths_that_differ_by_a_shift_are_equal(landmarks):
    assert mouth_distance(landmarks + np.array([7.0, -3.0, 2.0]), landmarks) == pytest.approx(0, abs=1e-9)


def test_mouth_distance_is_the_mean_over_lip_landmarks_only(landmarks):
    moved = landmarks.copy()
    others = np.setdiff1d(np.arange(478), LIPS)
    moved[:, others] += 50
    assert mouth_distance(moved, landmarks) == pytest.approx(0, abs=1e-9)
    # One of forty points moved by 40 px shifts the mean by 1 px: (39 px + 39 * 1 px) / 40.
    moved[:, LIPS[0], 0] += 40
    assert mouth_distance(moved, landmarks) == pytest.approx(78 / 40)


def test_relative_distance_does_not_depend_on_the_picture_size(landmarks):
    other = landmarks + np.random.default_rng(1).normal(size=landmarks.shape)
    assert relative_mouth_distance(other * 3, landmarks * 3) == pytest.approx(relative_mouth_distance(other, landmarks))
    assert mouth_distance(other * 3, landmarks * 3) == pytest.approx(3 * mouth_distance(other, landmarks))


def test_opening_and_width_are_in_units_of_the_median_eye_distance():
    landmarks = np.zeros((3, 478, 2))
    landmarks[:, 263, 0] = [80, 100, 120]
    landmarks[:, 14, 1] = [0, 10, 50]
    landmarks[:, 308, 0] = 40
    assert interocular(landmarks) == pytest.approx([80, 100, 120])
    assert lip_opening(landmarks) == pytest.approx([0, 0.1, 0.5])
    assert lip_width(landmarks) == pytest.approx([0.4, 0.4, 0.4])


def test_a_frame_without_a_face_is_nan_and_harms_no_other(landmarks):
    missing = landmarks.copy()
    missing[4] = np.nan
    for figure in (lip_opening(missing), mouth_distance(missing, landmarks)):
        assert np.flatnonzero(np.isnan(figure)).tolist() == [4]
