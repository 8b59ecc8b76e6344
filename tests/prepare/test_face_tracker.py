"""Whose face it is, what happens without one, and the landmarker on real pictures."""

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from talksplat import weights
from talksplat.errors import MachineError, UnsuitableFace
from talksplat.landmarks import BLENDSHAPES
from talksplat.prepare.face import Face, FaceTracker, fill_gaps, speaker, track


def face(x: float, edge: float) -> Face:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)).astype(np.float32)
    return Face(points * np.float32(edge) + np.float32([x, 200, 0]), np.zeros(52, np.float32))


def pictures_of(path: Path, count: int) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(count), strict=False)
        ]


@pytest.fixture(scope="module")
def may(clips: Path) -> list[np.ndarray]:
    return pictures_of(clips / "may-13s.mp4", 6)


@pytest.fixture(scope="module")
def lieu(clips: Path) -> list[np.ndarray]:
    return pictures_of(clips / "lieu-45s.mp4", 6)


def test_no_face_names_the_count():
    with pytest.raises(UnsuitableFace, match="found a face in 4 of 10 frames"):
        speaker([[face(100, 90)]] * 4 + [[]] * 6)


def test_two_like_faces_are_refused():
    with pytest.raises(UnsuitableFace, match="two faces of like size in 8 of 10 frames"):
        speaker([[face(100, 90), face(400, 80)]] * 8 + [[face(100, 90)]] * 2)


def test_the_larger_of_two_faces_speaks():
    found = speaker([[face(400, 50), face(100, 90)]] * 10)
    assert all(one is not None and one.edge > 80 for one in found)


def test_a_passing_face_is_not_the_speaker():
    found = speaker([[face(100, 90)]] * 18 + [[face(100, 90), face(400, 95)], [face(500, 20)]])
    assert [one is not None and one.center[0] < 200 for one in found] == [True] * 19 + [False]


def test_gaps_are_filled_linearly_and_ends_held():
    values = np.float32([[1.0], [4.0]])
    assert fill_gaps(values, np.array([1, 4]), 6)[:, 0].tolist() == [1, 1, 2, 3, 4, 4]


def test_missing_system_libraries_name_the_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(MachineError, match="MediaPipe cannot be loaded") as error:
        FaceTracker(weights.find("face-landmarker"))
    assert "apt install libegl1 libgles2" in error.value.hint


@pytest.mark.clips
def test_blendshapes_have_the_names_of_the_model(may: list[np.ndarray]):
    with FaceTracker() as tracker:
        found = tracker._landmarker.detect(tracker._image(may[0]))
    assert tuple(shape.category_name for shape in found.face_blendshapes[0]) == BLENDSHAPES


@pytest.mark.clips
def test_landmarks_follow_a_shift_of_the_picture_padded_rows_or_not(may: list[np.ndarray]):
    padded = np.zeros((512, 600, 3), np.uint8)
    padded[:, 24:536] = may[0]
    with FaceTracker() as tracker:
        (plain,) = tracker.detect(padded[:, 24:536])
        (moved,) = tracker.detect(padded)
    offset = np.median((moved.landmarks - plain.landmarks)[:, :2], axis=0)
    assert offset == pytest.approx([24, 0], abs=1.0)


@pytest.mark.clips
def test_result_does_not_depend_on_the_number_of_threads(may: list[np.ndarray]):
    one, two = (track(may.__getitem__, len(may), workers=count) for count in (1, 2))
    assert (one.landmarks == two.landmarks).all()
    assert (one.blendshapes == two.blendshapes).all()
    assert one.detected.all()


@pytest.mark.clips
def test_frames_without_a_face_are_filled_and_marked(may: list[np.ndarray]):
    shown = [*may[:2], np.zeros_like(may[0]), *may[3:]]
    found = track(shown.__getitem__, len(shown))
    assert found.detected.tolist() == [True, True, False, True, True, True]
    assert found.landmarks[2] == pytest.approx((found.landmarks[1] + found.landmarks[3]) / 2, abs=1e-3)


@pytest.mark.clips
def test_small_faces_in_large_pictures_are_found(may: list[np.ndarray]):
    """160 pixels of head in 2160 x 3840: the whole picture shows the detector a face of four pixels."""
    large = np.full((2160, 3840, 3), 90, np.uint8)
    large[1500:1660, 2900:3060] = cv2.resize(may[0], (160, 160), interpolation=cv2.INTER_AREA)
    with FaceTracker() as tracker:
        assert tracker.detect(large) == []
        (found,) = tracker.search(large)
        (direct,) = tracker.detect(may[0])
    expected = direct.landmarks[:, :2] * (160 / 512) + [2900, 1500]
    assert np.abs(found.landmarks[:, :2] - expected).mean() < 1.5


@pytest.mark.clips
def test_two_speakers_side_by_side_are_refused(may: list[np.ndarray], lieu: list[np.ndarray]):
    pairs = [np.concatenate([one, other], 1) for one, other in zip(may, lieu, strict=True)]
    with pytest.raises(UnsuitableFace, match="two faces of like size in 6 of 6 frames"):
        track(pairs.__getitem__, len(pairs))


@pytest.mark.clips
def test_a_smaller_face_behind_is_ignored(may: list[np.ndarray], lieu: list[np.ndarray]):
    pairs = []
    for one, other in zip(may, lieu, strict=True):
        small = np.zeros((512, 256, 3), np.uint8)
        small[:256] = cv2.resize(other, (256, 256), interpolation=cv2.INTER_AREA)
        pairs.append(np.concatenate([small, one], 1))
    found = track(pairs.__getitem__, len(pairs))
    assert found.landmarks[..., 0].min() > 256
