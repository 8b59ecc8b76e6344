"""Lip shapes ignore how the head lies in the picture; the warm start learns what can be learnt."""

import math

import torch

from talksplat.model.articulation import articulation_targets, lip_shapes, teach_articulation
from talksplat.model.conditioning import SpeechChannels, SpeechNet
from talksplat.speech.windows import windows_of_frames


def test_lip_shapes_ignore_place_roll_and_size() -> None:
    generator = torch.Generator().manual_seed(0)
    landmarks = torch.randn(12, 478, 2, generator=generator) * 5 + 50
    landmarks[:, 33], landmarks[:, 263] = torch.tensor([30.0, 40.0]), torch.tensor([70.0, 40.0])
    turn = torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    moved = 1.7 * landmarks @ turn.T + torch.tensor([13.0, -4.0])
    assert torch.allclose(lip_shapes(landmarks), lip_shapes(moved), atol=1e-4)


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
