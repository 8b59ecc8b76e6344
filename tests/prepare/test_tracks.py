"""Measurements survive the disk, and become tracks of the portrait's shapes."""

from pathlib import Path

import numpy as np

from talksplat.prepare.face import Detections
from talksplat.prepare.headpose import HeadPoses
from talksplat.prepare.tracks import load_measurements, save_measurements, tracks_of

FRAMES = 12


def poses() -> HeadPoses:
    return HeadPoses(
        head_to_camera=np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1)),
        intrinsics=np.eye(3, dtype=np.float32),
        shape=np.zeros((468, 3), np.float32),
        reprojection=np.linspace(0, 1, FRAMES, dtype=np.float32),
        scale=1.02,
        unusable=((3, "no face"), (7, "misfit")),
    )


def test_round_trip(tmp_path: Path) -> None:
    save_measurements(tmp_path / "poses.safetensors", poses())
    back = load_measurements(tmp_path / "poses.safetensors", HeadPoses)
    assert back.unusable == poses().unusable
    assert back.scale == 1.02
    assert np.array_equal(back.reprojection, poses().reprojection)
    assert back.usable.sum() == FRAMES - 2


def test_tracks_mark_unusable_frames() -> None:
    chance = np.random.default_rng(0)
    faces = Detections(
        landmarks=(chance.random((FRAMES, 478, 3)) * 100).astype(np.float32),
        blendshapes=chance.random((FRAMES, 52)).astype(np.float32),
        detected=np.ones(FRAMES, bool),
    )
    tracks = tracks_of(faces, poses())
    assert tracks.usable.tolist() == [n not in (3, 7) for n in range(FRAMES)]
    assert tracks.action_units.shape == (FRAMES, 7)
    assert np.array_equal(tracks.landmarks.numpy(), faces.landmarks)
