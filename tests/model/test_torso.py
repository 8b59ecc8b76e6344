"""The torso's target extends behind the chin, and its pose code stays where the recording was."""

import torch

from talksplat.camera import Camera, project
from talksplat.frame import Label
from talksplat.gaussians import scattered_gaussians
from talksplat.model.masks import is_any
from talksplat.model.torso import TorsoLayer, slab_half_extent, torso_target


def reference() -> Camera:
    pose = torch.eye(4)
    pose[2, 3] = 0.7
    intrinsics = torch.tensor([[120.0, 0.0, 32.0], [0.0, 120.0, 28.0], [0.0, 0.0, 1.0]])
    return Camera(head_to_camera=pose, intrinsics=intrinsics, height=64, width=64)


def torso() -> TorsoLayer:
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    return TorsoLayer(scattered_gaussians(points, torch.rand(50, 3), 0), reference(), levels=4)


def test_target_continues_upwards_behind_the_head_and_does_not_count_beyond() -> None:
    image = torch.zeros(100, 4, 3)
    image[60:] = torch.tensor([0.5, 0.4, 0.3])
    labels = torch.zeros(100, 4, dtype=torch.uint8)
    labels[10:60] = Label.FACE
    labels[60:] = Label.NECK
    labels[:, 3] = Label.BACKGROUND
    plate = torch.full((100, 4, 3), 0.9)
    target, alpha, counts = torso_target(image, labels, plate, reach=20)
    assert torch.equal(target[60:, 0], image[60:, 0])
    assert torch.allclose(target[59, 0], image[62, 0] * 0.98)
    assert torch.allclose(target[41, 0], image[62, 0] * 0.98**19)
    assert (alpha[40:, 0] == 1).all()
    assert (counts[11:39, 0] == 0).all()
    assert (counts[41:59, 0] == 0.3).all()
    assert torch.equal(target[:, 3], plate[:, 3])
    assert (alpha[:, 3] == 0).all()
    assert (counts[:, 3] == 1).all()


def test_slab_covers_the_frame_at_the_torsos_depth() -> None:
    camera = reference()
    half = slab_half_extent(camera)
    corners = torch.tensor([[x, y, 0.0] for x in (-1.0, 1.0) for y in (-1.0, 1.0)]) * half
    pixels, _ = project(camera, corners)
    low, high = pixels.amin(0), pixels.amax(0)
    assert (low <= 0).all()
    assert (high >= torch.tensor([64.0, 64.0])).all()


def test_pose_code_is_held_to_the_recorded_range() -> None:
    layer = torso()
    poses = torch.eye(4).repeat(20, 1, 1)
    poses[:, 2, 3] = 0.7
    poses[:, 0, 3] = torch.linspace(-0.02, 0.02, 20)
    layer.learn_range(poses)
    far, farther = poses[0].clone(), poses[0].clone()
    far[0, 3], farther[0, 3] = 0.2, 0.4
    inside = poses[10]
    assert torch.allclose(layer.pose_code(far), layer.pose_code(farther), atol=1e-3)
    assert not torch.allclose(layer.pose_code(inside), layer.pose_code(far), atol=1e-2)


def test_annealing_opens_octaves() -> None:
    layer = torso()
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([0.01, 0.02, 0.72])
    layer.anneal(0.0)
    assert (layer.pose_code(pose) == 0).all()
    layer.anneal(2.0)
    assert layer.pose_code(pose).abs().max() > 0.5


def test_cached_inference_equals_training() -> None:
    layer = torso()
    with torch.no_grad():
        layer.decoder.last.normal_(0, 0.1)
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([0.01, 0.0, 0.7])
    trained = layer.layer(pose, deformed=True).gaussians.means.detach()
    layer.eval()
    with torch.no_grad():
        cached = layer.layer(pose, deformed=True).gaussians.means
        again = layer.layer(pose, deformed=True).gaussians.means
    assert torch.allclose(trained, cached, atol=1e-6)
    assert torch.equal(cached, again)
    assert not torch.allclose(trained, layer.layer(pose, deformed=False).gaussians.means.detach(), atol=1e-5)


def test_labels_are_looked_up() -> None:
    labels = torch.tensor([[0, 1, 2, 5]], dtype=torch.uint8)
    assert is_any(labels, (Label.FACE, Label.LIPS)).tolist() == [[False, False, True, True]]
