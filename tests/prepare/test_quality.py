"""Figures, warnings and the contact sheet of the quality report."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import soundfile
import torch
from PIL import Image

from drawn import draw_portrait
from talksplat.camera import rotations_of_euler
from talksplat.prepare.face import Detections
from talksplat.prepare.headpose import HeadPoses
from talksplat.prepare.quality import judge, report_lines, write_sheet
from talksplat.prepare.synchrony import Synchrony
from talksplat.prior.offset import AvOffset

FRAMES = 100
ON_TIME = Synchrony(AvOffset(lips_late_frames=0.2, agreement=0.6, as_recorded=0.6, prominence=0.3), 0.0, False)
FOREIGN = Synchrony(AvOffset(lips_late_frames=-5.0, agreement=0.1, as_recorded=0.0, prominence=0.01), 0.0, False)


def folder_of(path: Path, *, level: float = 0.1, flicker: float = 0.0) -> Path:
    """Sound and gray pictures; every other picture is brighter by ``flicker`` percent."""
    (path / "frames").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 1, FRAMES * 640)
    soundfile.write(path / "audio.wav", (level * noise).clip(-1, 1), 16_000, subtype="PCM_16")
    for n in range(FRAMES):
        gray = np.full((32, 32, 3), round(150 * (1 + (n % 2) * flicker / 100)), np.uint8)
        (path / "frames" / f"{n:06d}.jpg").write_bytes(simplejpeg.encode_jpeg(gray))
    return path


def measured(
    *, turn: float = 20.0, eyes: float = 120.0, misfit: float = 1.0, dropped: int = 0, synchrony: Synchrony = ON_TIME
) -> tuple[Detections, HeadPoses, Synchrony]:
    """A head that turns from ``-turn`` to ``turn`` degrees and nods half as much."""
    angles = np.radians(np.linspace(-turn, turn, FRAMES))
    rotations = rotations_of_euler(torch.tensor(np.stack([angles / 2, angles, 0 * angles], 1), dtype=torch.float32))
    poses = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    poses[:, :3, :3] = rotations.numpy()
    landmarks = np.zeros((FRAMES, 478, 3), np.float32)
    landmarks[:, 263, 0] = eyes
    faces = Detections(landmarks, np.zeros((FRAMES, 52), np.float32), np.ones(FRAMES, bool))
    heads = HeadPoses(
        head_to_camera=poses,
        intrinsics=np.diag([900, 900, 1]).astype(np.float32),
        shape=np.zeros((468, 3), np.float32),
        reprojection=np.full(FRAMES, misfit, np.float32),
        scale=1.0,
        unusable=tuple((n, "no face found") for n in range(dropped)),
    )
    return faces, heads, synchrony


def test_figures_are_those_of_the_measurements(tmp_path: Path):
    figures = judge(folder_of(tmp_path), 512, *measured(dropped=2))
    assert figures["seconds"] == FRAMES / 25
    assert figures["frames_dropped"] == 2
    assert figures["dropped"] == [[0, "no face found"], [1, "no face found"]]
    assert figures["eye_distance_px"] == 120
    assert figures["yaw_degrees"] == pytest.approx([-19, 19], abs=1.0)
    assert figures["pitch_degrees"] == pytest.approx([-9.5, 9.5], abs=0.5)
    assert figures["focal_px"] == 900
    assert figures["reprojection_px"] == 1
    assert figures["flicker_percent"] == 0
    assert figures["warnings"] == []


def test_unusable_frames_do_not_widen_the_ranges(tmp_path: Path):
    faces, heads, synchrony = measured(turn=5, dropped=10)
    heads.head_to_camera[:10] = heads.head_to_camera[:10] @ np.diag([-1, 1, -1, 1]).astype(np.float32)
    low, high = judge(folder_of(tmp_path), 512, faces, heads, synchrony)["yaw_degrees"]
    assert -5 <= low < high <= 5


@pytest.mark.parametrize(
    ("measures", "sound", "said"),
    [
        ({"dropped": 20}, {}, "20 % of the frames cannot be used"),
        ({"turn": 1.0}, {}, "the head turns by"),
        ({"eyes": 50.0}, {}, "the face is small"),
        ({"misfit": 9.0}, {}, "the head poses fit badly"),
        ({}, {"level": 0.0}, "the sound is silent"),
        ({}, {"level": 0.002}, "the speech is quiet"),
        ({}, {"flicker": 4.0}, "the light flickers"),
        ({"synchrony": FOREIGN}, {}, "does not seem to belong to these lips"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(measures, sound, said, tmp_path: Path):
    figures = judge(folder_of(tmp_path, **sound), 512, *measured(**measures))
    assert len(figures["warnings"]) == 1
    assert said in figures["warnings"][0]
    assert report_lines(figures)[-1] == f"warning: {figures['warnings'][0]}"


def test_small_pictures_do_not_make_a_face_small(tmp_path: Path):
    assert judge(folder_of(tmp_path), 256, *measured(eyes=60))["warnings"] == []


def test_the_reasons_of_dropped_frames_are_counted(tmp_path: Path):
    figures = judge(folder_of(tmp_path), 512, *measured(dropped=3))
    assert "3 frames dropped (3 no face found)" in report_lines(figures)[0]


def test_the_sheet_shows_frames_labels_and_the_plate(tmp_path: Path):
    portrait = draw_portrait(tmp_path / "drawn", frames=12)
    write_sheet(portrait, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (7 * 256, 4 * 256, 3)
    assert np.abs(sheet[:256, :256].astype(int) - sheet[:256, 256:512]).mean() > 10  # painted
    plate = np.asarray(Image.fromarray(portrait.background()).resize((256, 256)))
    assert np.abs(sheet[-256:, :256].astype(int) - plate).mean() < 3
