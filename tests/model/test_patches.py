"""Patches lie inside the picture whatever the landmarks say."""

import pytest
import torch

from talksplat.camera import Camera
from talksplat.frame import Condition, Frame
from talksplat.landmarks import EYELIDS, OUTER_LIPS
from talksplat.model.patches import eye_squares, lip_square, perceptual_patch, tiled_distance


def frame(landmarks: torch.Tensor, size: int = 100) -> Frame:
    camera = Camera(head_to_camera=torch.eye(4), intrinsics=torch.eye(3), height=size, width=size)
    condition = Condition(speech=torch.zeros(8, 2, 16), expression=torch.zeros(8), head_pose=torch.eye(4))
    image, labels = torch.zeros(size, size, 3), torch.zeros(size, size, dtype=torch.uint8)
    return Frame(index=0, image=image, labels=labels, landmarks=landmarks, camera=camera, condition=condition)


@pytest.mark.parametrize("center", [(50.0, 60.0), (-20.0, 5.0), (99.0, 130.0)])
def test_squares_stay_inside(center: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(1)
    landmarks = torch.tensor(center) + 8 * torch.randn(478, 2, generator=generator)
    shown = frame(landmarks)
    squares = [lip_square(landmarks, shown.camera)]
    squares += [perceptual_patch(shown, 48, whole, generator) for whole in (True, False) for _ in range(20)]
    for rows, columns in squares:
        assert 0 <= rows.start < rows.stop <= 100
        assert 0 <= columns.start < columns.stop <= 100
        assert rows.stop - rows.start == columns.stop - columns.start


def test_lip_square_holds_the_lips() -> None:
    landmarks = torch.full((478, 2), 50.0)
    landmarks[list(OUTER_LIPS)] = torch.tensor([40.0, 60.0]) + torch.randn(20, 2).clamp(-2, 2) * 5
    rows, columns = lip_square(landmarks, frame(landmarks).camera)
    lips = landmarks[list(OUTER_LIPS)]
    assert columns.start <= lips[:, 0].min() + 1
    assert lips[:, 0].max() - 1 <= columns.stop
    assert rows.start <= lips[:, 1].min() + 1
    assert lips[:, 1].max() - 1 <= rows.stop


def test_eye_squares_hold_the_eyes() -> None:
    landmarks = torch.full((478, 2), 50.0)
    for rim, x in zip(EYELIDS, (30.0, 70.0), strict=True):
        landmarks[list(rim)] = torch.tensor([x, 40.0]) + torch.linspace(-9, 9, 16)[:, None] * torch.tensor([1.0, 0.3])
    squares = eye_squares(landmarks, frame(landmarks).camera)
    for (rows, columns), x in zip(squares, (30, 70), strict=True):
        assert columns.start <= x - 9
        assert x + 9 <= columns.stop
        assert rows.start <= 37
        assert rows.stop >= 43
        assert rows.stop - rows.start == columns.stop - columns.start < 30


def test_a_patch_larger_than_the_picture_is_the_picture() -> None:
    rows, columns = perceptual_patch(frame(torch.full((478, 2), 50.0)), 400, True, torch.Generator())
    assert (rows, columns) == (slice(0, 100), slice(0, 100))


def mean_square(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().mean()


def test_all_tiles_together_are_the_whole_but_for_the_remainder() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, target = torch.rand(50, 70, 3, generator=generator), torch.rand(50, 70, 3, generator=generator)
    found = tiled_distance(mean_square, picture, target, 16, 0, generator)
    assert float(found) == pytest.approx(float(mean_square(picture[:48, :64], target[:48, :64])), rel=1e-5)
    whole = tiled_distance(mean_square, picture, target, 200, 0, generator)
    assert float(whole) == pytest.approx(float(mean_square(picture[:, :50], target[:, :50])), rel=1e-5)


def test_a_few_tiles_stand_for_all_of_them() -> None:
    """Over many draws a sample's mean is the whole's; tiles without any difference are never looked at."""
    generator = torch.Generator().manual_seed(0)
    picture, target = torch.rand(64, 64, 3, generator=generator), torch.rand(64, 64, 3, generator=generator)
    target[:, :32] = picture[:, :32]
    looked: list[torch.Tensor] = []

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        assert len(a) <= 8
        looked.append((a - b).abs().amax((1, 2, 3)))
        return mean_square(a, b)

    exact = float(tiled_distance(watched, picture, target, 16, 0, generator))
    assert exact == pytest.approx(float(mean_square(picture, target)), rel=1e-5)
    assert {len(tiles) for tiles in looked} == {8}
    looked.clear()
    draws = [float(tiled_distance(watched, picture, target, 16, 3, generator)) for _ in range(200)]
    assert float(torch.cat(looked).min()) > 0
    assert {len(tiles) for tiles in looked} == {3}
    assert sum(draws) / len(draws) == pytest.approx(exact, rel=0.02)
    assert float(tiled_distance(mean_square, picture, picture.clone(), 16, 3, generator)) == 0
