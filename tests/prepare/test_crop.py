"""The crop holds head and shoulders, lies in the picture, and maps points as it maps pixels."""

import numpy as np
import pytest

from talksplat.errors import UnsuitableFace
from talksplat.prepare.crop import Crop, square_crop


def face_at(x: float, y: float, height: float) -> np.ndarray:
    """Landmarks spread over an upright face, the eye corners at their usual places."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)).astype(np.float32)
    points[10, :2], points[152, :2] = (0, -0.5), (0, 0.5)
    points[33, :2], points[263, :2] = (-0.2, -0.15), (0.2, -0.15)
    return points * np.float32([0.8 * height, height, height]) + np.float32([x, y, 0])


@pytest.mark.parametrize("size", [128, 512])
def test_pixels_and_points_move_alike(size: int):
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[100:104, 150:154] = 255
    crop = Crop(left=60, top=40, edge=256)
    bright = crop.apply(picture, size)[..., 0].astype(float)
    rows, columns = np.indices(bright.shape) + 0.5
    center = np.array([(columns * bright).sum(), (rows * bright).sum()]) / bright.sum()
    assert crop.points(np.array([152.0, 102.0]), size) == pytest.approx(center, abs=0.05)


def test_principal_point_is_the_center_of_the_whole_picture():
    crop = Crop(left=198, top=154, edge=670)
    expected = crop.points(np.array([540.0, 960.0]), 512)
    assert crop.principal_point(1920, 1080, 512) == pytest.approx(expected)
    assert Crop(0, 0, 512).principal_point(512, 512, 256) == pytest.approx([128, 128])


def test_crop_at_its_own_size_copies_the_pixels():
    picture = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    assert (Crop(10, 5, 64).apply(picture, 64) == picture[5:69, 10:74]).all()


def test_crop_holds_hair_and_shoulders_of_every_frame():
    frames = np.stack([face_at(500 + 4 * n, 700 - 2 * n, 300) for n in range(20)])
    crop = square_crop(frames, 1920, 1080)
    assert crop.left <= frames[..., 0].min() - 100
    assert crop.left + crop.edge >= frames[..., 0].max() + 100
    assert crop.top <= frames[..., 1].min() - 140
    assert crop.top + crop.edge >= frames[..., 1].max() + 120
    assert 0.35 < 300 / crop.edge < 0.5


@pytest.mark.parametrize(("x", "y", "height"), [(60, 60, 200), (1850, 1000, 200), (960, 540, 900)])
def test_crop_lies_in_the_picture(x: float, y: float, height: float):
    crop = square_crop(face_at(x, y, height)[None], 1080, 1920)
    assert crop.left >= 0
    assert crop.top >= 0
    assert crop.left + crop.edge <= 1920
    assert crop.top + crop.edge <= 1080


def test_one_wrong_detection_does_not_widen_the_crop():
    frames = np.stack([face_at(500, 700, 300)] * 150)
    alone = square_crop(frames, 1920, 1080)
    frames[70] = face_at(200, 1500, 100)
    assert abs(square_crop(frames, 1920, 1080).edge - alone.edge) <= 2


def test_square_head_crops_stay_whole_and_wide_squares_do_not():
    assert square_crop(face_at(256, 280, 260)[None], 512, 512) == Crop(0, 0, 512)
    assert square_crop(face_at(256, 280, 130)[None], 512, 512).edge < 400


def test_small_faces_are_refused_with_the_figure():
    with pytest.raises(UnsuitableFace, match="26 pixels between the outer eye corners; expected at least 32") as error:
        square_crop(face_at(300, 300, 80)[None], 720, 1280)
    assert "higher resolution" in error.value.hint
