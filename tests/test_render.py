import numpy as np
import pytest
import torch

from puppet import condition, puppet, track
from talksplat.camera import Camera, project
from talksplat.gaussians import Gaussians
from talksplat.rasterize.rasterizer import Rendered
from talksplat.render import TURN_FRAMES, DrivingTrack, Renderer


class Stamper:
    """A rasterizer for tests: every centre is a stamp of 3 x 3 pixels in its own colour, and it notes its cameras."""

    def __init__(self) -> None:
        self.cameras: list[Camera] = []
        self.needed_gradients = False

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Rendered:
        self.cameras.append(camera)
        self.needed_gradients |= torch.is_grad_enabled()
        pixels, _ = project(camera, gaussians.means)
        colors = torch.zeros(camera.height, camera.width, 3)
        alpha = torch.zeros(camera.height, camera.width, 1)
        paint = gaussians.harmonics[:, 0] * 0.28209479177387814 + 0.5
        for (x, y), color in zip(pixels.round().long().tolist(), paint, strict=True):
            rows, columns = slice(max(y - 1, 0), max(y + 2, 0)), slice(max(x - 1, 0), max(x + 2, 0))
            colors[rows, columns], alpha[rows, columns] = color, 1.0
        return Rendered(colors=colors, alpha=alpha, screen_means=pixels)


def test_head_layers_follow_the_pose_and_the_torso_does_not() -> None:
    saved, rasterizer = puppet(), Stamper()
    pose = saved.head_to_camera[10]
    Renderer(saved, rasterizer).draw(condition(pose, 0.0))
    mouth, face, torso = rasterizer.cameras
    assert torch.equal(mouth.head_to_camera, pose)
    assert torch.equal(face.head_to_camera, pose)
    assert torch.equal(torso.head_to_camera, saved.reference_camera.head_to_camera)
    assert not rasterizer.needed_gradients


def test_the_picture_is_mouth_over_face_over_torso_over_background() -> None:
    saved = puppet()
    picture = Renderer(saved, Stamper()).draw(condition(saved.reference_camera.head_to_camera, 10.0))
    assert picture.dtype == np.uint8
    assert picture.shape == (64, 64, 3)
    assert picture[38, 32].tolist() == [25, 0, 0]  # mouth
    assert picture[24, 32].tolist() == [230, 178, 153]  # face
    assert picture[62, 32].tolist() == [51, 76, 153]  # torso
    assert np.array_equal(picture[:, 0], saved.background[:, 0].numpy())


def test_layers_can_be_had_one_by_one() -> None:
    saved = puppet()
    layers = Renderer(saved, Stamper()).layers(condition(saved.head_to_camera[0], 0.0))
    assert list(layers) == ["mouth", "face", "torso"]
    assert 0 < float(layers["mouth"].alpha.sum()) < float(layers["face"].alpha.sum())


def test_colours_out_of_range_are_clamped_not_wrapped() -> None:
    saved = puppet()

    def glaring(gaussians: Gaussians, camera: Camera) -> Rendered:
        full = torch.full((camera.height, camera.width, 3), 1.7)
        return Rendered(colors=full, alpha=torch.ones_like(full[..., :1]), screen_means=gaussians.means[:, :2])

    assert Renderer(saved, glaring).draw(condition(saved.head_to_camera[0], 0.0)).min() == 255


@pytest.mark.parametrize("frames", [1, 2, 5, 40, 200])
def test_the_track_stays_inside_the_recording_and_reaches_both_ends(frames: int) -> None:
    driving = DrivingTrack(*track(frames))
    places = np.array([driving.place(n) for n in range(3 * int(driving.period) + 50)])
    assert places.min() >= 0
    assert places.max() <= max(frames - 1, 1)
    if frames > 2:
        assert places.min() < 0.2
        assert places.max() > frames - 1.2


def test_rounding_never_leads_out_of_the_recording() -> None:
    for frames in range(2, 120):
        driving = DrivingTrack(*track(frames))
        for turn in range(4):
            pose, _ = driving.at(turn * driving.period / 2)
            assert bool(pose.isfinite().all())


def test_between_the_turns_recorded_instants_are_played_as_they_are() -> None:
    poses, expression = track(100)
    driving = DrivingTrack(poses, expression)
    frames = range(12, 90)
    places = np.array([driving.place(n) for n in frames])
    np.testing.assert_allclose(np.diff(places), 1, atol=1e-9)
    np.testing.assert_allclose(places, places.round(), atol=1e-9)
    back = np.array([driving.place(round(driving.period) - n) for n in frames])
    np.testing.assert_allclose(back, places, atol=1e-9)
    pose, units = driving.at(30)
    torch.testing.assert_close(pose, poses[26], atol=1e-6, rtol=0)
    torch.testing.assert_close(units, expression[26], atol=1e-4, rtol=0)


def test_turns_have_no_jump_in_position_speed_or_acceleration() -> None:
    driving = DrivingTrack(*track(100))
    fine = np.arange(0, 2 * driving.period, 0.01)
    place = np.array([driving.place(n) for n in fine])
    speed = np.diff(place) / 0.01
    acceleration = np.diff(speed) / 0.01
    assert np.abs(speed).max() <= 1 + 1e-9
    # A half cosine over the turn: |a| <= pi / (2 turn), |jerk| <= (pi / (2 turn))^2.
    steepest = np.pi / (2 * TURN_FRAMES)
    assert np.abs(acceleration).max() <= steepest * 1.001
    assert np.abs(np.diff(acceleration)).max() / 0.01 <= steepest**2 * 1.01 + 1e-3


@pytest.mark.parametrize("start", [0, 3, 7.5, 50, 97, 99])
def test_the_first_frame_lies_where_it_was_asked(start: float) -> None:
    assert DrivingTrack(*track(100), start=start).place(0) == pytest.approx(start, abs=1e-6)


def test_rotations_between_frames_are_rotations_at_constant_speed() -> None:
    poses, expression = track(30)
    driving = DrivingTrack(poses, expression)
    for frame in range(200):
        pose, _ = driving.at(frame)
        torch.testing.assert_close(pose[:3, :3] @ pose[:3, :3].T, torch.eye(3), atol=1e-6, rtol=0)
        assert float(torch.linalg.det(pose[:3, :3])) == pytest.approx(1, abs=1e-5)
    halfway = DrivingTrack(poses[[0, 10]], expression[[0, 10]], start=0.5).at(0)[0]
    to_first = halfway[:3, :3] @ poses[0, :3, :3].T
    to_second = poses[10, :3, :3] @ halfway[:3, :3].T
    torch.testing.assert_close(to_first, to_second, atol=1e-5, rtol=0)


def test_any_place_in_a_very_long_video_costs_the_same() -> None:
    driving = DrivingTrack(*track(100))
    period = round(driving.period)
    torch.testing.assert_close(driving.at(7)[0], driving.at(7 + 10_000 * period)[0], atol=1e-5, rtol=0)
