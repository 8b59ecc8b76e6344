"""Lip shapes ignore how the head lies in the picture; the warm start learns what can be learnt."""

import math

import pytest
import torch
from torch import Tensor

from talksplat.camera import rotations_of_euler
from talksplat.model.articulation import articulation_targets, lip_shapes, person_articulation, teach_articulation
from talksplat.model.conditioning import SpeechChannels, SpeechNet
from talksplat.portrait import Tracks
from talksplat.speech.windows import windows_of_frames


def test_lip_shapes_ignore_place_roll_and_size() -> None:
    generator = torch.Generator().manual_seed(0)
    landmarks = torch.randn(12, 478, 2, generator=generator) * 5 + 50
    landmarks[:, 33], landmarks[:, 263] = torch.tensor([30.0, 40.0]), torch.tensor([70.0, 40.0])
    turn = torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    moved = 1.7 * landmarks @ turn.T + torch.tensor([13.0, -4.0])
    assert torch.allclose(lip_shapes(landmarks), lip_shapes(moved), atol=1e-4)


def tracks_of(angles: Tensor, mouth: Tensor) -> Tracks:
    """Of a head that turns by ``angles`` [T, 3] while its ``mouth`` [T, 3] moves; its lip landmarks stand still."""
    frames = len(angles)
    poses = torch.eye(4).repeat(frames, 1, 1)
    flipped = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # As camera axes are to the head's.
    poses[:, :3, :3] = rotations_of_euler(angles) @ flipped
    still = torch.zeros(frames)
    generator = torch.Generator().manual_seed(1)
    return Tracks(
        head_to_camera=poses,
        landmarks=torch.randn(1, 478, 3, generator=generator).expand(frames, -1, -1) * 20 + 100,
        blendshapes=torch.zeros(frames, 52),
        action_units=torch.zeros(frames, 7),
        eye_opening=still,
        mouth=mouth,
        reprojection=still,
        usable=still == 0,
        face_shape=torch.zeros(468, 3),
    )


@pytest.mark.parametrize("turning", [0.0, 0.1])
def test_articulation_is_what_turning_the_head_leaves(turning: float) -> None:
    generator = torch.Generator().manual_seed(1)
    angles = turning * torch.randn(400, 3, generator=generator)
    said = torch.randn(400, 3, generator=generator)
    tracks = tracks_of(angles, 0.05 * said + 0.5 * angles @ torch.randn(3, 3, generator=generator))
    train = torch.arange(300)
    found = person_articulation(tracks, torch.eye(80)[:2], train)
    assert torch.allclose(found[train].mean(0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(found[train, :3].std(0), torch.ones(3), atol=1e-4)
    agreement = torch.corrcoef(torch.cat([found[300:, :3], said[300:]], 1).T)[:3, 3:].diag()
    assert (agreement > 0.97).all()
    assert (found[:, 3:] == 0).all()  # These lips do not move.


def test_warm_start_beats_knowing_nothing_on_frames_it_never_saw() -> None:
    generator = torch.Generator().manual_seed(2)
    frames = 700
    noise = torch.randn(6, 2 * frames + 14, generator=generator)
    features = noise.unfold(1, 15, 1).sum(2).T.contiguous() / 15**0.5  # lips move over 0.3 s
    drive = features[1::2][:frames, 0]
    landmarks = torch.randn(1, 478, 2, generator=generator).expand(frames, -1, -1).clone() * 20 + 100
    landmarks[:, 14, 1] += 5 * drive
    mouth = torch.stack([drive, 0.5 * drive + 1, drive + 2], 1)
    train = torch.arange(600)
    targets = articulation_targets(landmarks, mouth, train)
    torch.manual_seed(0)
    net = SpeechNet(SpeechChannels(6))
    rest = torch.full((8, 6, 16), -1.0), targets.amin(0)
    figures = teach_articulation(net, features, targets, train, 300, generator, rest)
    assert figures["articulation_error"] < 0.9
    with torch.no_grad():
        codes = net(windows_of_frames(features, torch.arange(frames)))
    known = torch.cat([codes[:600], torch.ones(600, 1)], 1)
    readout = torch.linalg.solve(known.T @ known + torch.eye(33), known.T @ targets[:600, 8:9])
    told = torch.cat([codes[600:], torch.ones(100, 1)], 1) @ readout
    assert torch.corrcoef(torch.stack([told[:, 0], targets[600:, 8]]))[0, 1] > 0.5


def test_silence_has_a_code_of_its_own_and_speech_keeps_its_codes() -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(400, 6, generator=generator)
    targets, train = torch.randn(200, 3, generator=generator), torch.arange(200)
    silence = torch.full((8, 6, 16), -0.5)
    found = []
    for closed in (-2.0, 2.0):  # What speech is told does not depend on it.
        torch.manual_seed(0)
        net = SpeechNet(SpeechChannels(6))
        rest = silence, torch.full((3,), closed)
        teach_articulation(net, features, targets, train, 300, torch.Generator().manual_seed(6), rest)
        with torch.no_grad():
            found.append((net(windows_of_frames(features, train)), net(silence[None])))
    (spoken, shut), (also_spoken, wide) = found
    assert (shut - wide).norm() > 20 * (spoken - also_spoken).norm(dim=1).mean()
    assert (shut - wide).norm() > 4 * (spoken - spoken.mean(0)).norm(dim=1).mean()


def test_turning_that_agrees_with_the_lips_by_chance_is_left_in() -> None:
    """Seconds of a head that turns slowly: fitted it explains a share of any lips, on frames left out none."""
    train, nothing, left_in = torch.arange(150), torch.eye(80)[:0], list[bool]()

    def standardised(mouth: Tensor) -> Tensor:
        return (mouth - mouth.mean(0)) / mouth.std(0)

    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        slow = torch.randn(3, 150 + 39, generator=generator).unfold(1, 40, 1).mean(2).T
        lips = torch.randn(150 + 9, 3, generator=generator).unfold(0, 10, 1).mean(2)
        found = person_articulation(tracks_of(0.5 * slow, lips), nothing, train)
        left_in += (found - standardised(lips)).abs().amax(0).lt(1e-4).tolist()
        moved = lips + 8.0 * slow[:, :1]
        found = person_articulation(tracks_of(0.5 * slow, moved), nothing, train)
        assert ((found - standardised(moved)).abs().amax(0) > 0.1).all()
    assert sum(left_in) > 0.75 * len(left_in)
