"""A puppet that speaks without training: a few hundred Gaussians whose mouth opens with the speech features."""

import math
from typing import final

import torch

from talksplat.camera import Camera, rotations_of_euler
from talksplat.frame import UNITS, Condition
from talksplat.gaussians import SH_CONSTANT, Gaussians
from talksplat.methods.avatar_file import SavedAvatar
from talksplat.methods.method import MethodConfig
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.conditioning import SpeechChannels
from talksplat.portrait import Provenance

DEPTH = 0.7
OPEN = 0.03
"""Half height of the wide-open mouth, metres."""


def painted(points: torch.Tensor, color: tuple[float, float, float], size: float) -> Gaussians:
    """Round, nearly opaque Gaussians of one colour."""
    count = len(points)
    return Gaussians(
        means=points,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        scales=torch.full((count, 3), size),
        opacities=torch.full((count,), 0.95),
        harmonics=((torch.tensor(color) - 0.5) / SH_CONSTANT).repeat(count, 1)[:, None],
    )


def disk(radius: float, spacing: float, depth: float = 0.0) -> torch.Tensor:
    """Points of a square grid inside a circle about the origin."""
    line = torch.arange(-radius, radius + spacing / 2, spacing)
    x, y = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), depth)], -1)
    return points[points[:, :2].norm(dim=-1) <= radius]


@final
class Puppet(Avatar):
    """A face with a mouth, before a torso that stays where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.face = disk(0.09, 0.01)
        self.mouth = disk(1.0, 0.2, depth=-0.02)
        self.torso = disk(0.08, 0.01) + torch.tensor([0.0, 0.14, 0.0])

    def opening(self, condition: Condition) -> float:
        """How far the mouth is open, 0 to 1: the features of the frame's own two steps, in its own window."""
        return float(condition.speech[4, :, 7:9].mean().sigmoid())

    def animate(self, condition: Condition) -> tuple[Layer, ...]:
        return self._layers(self.opening(condition))

    def canonical(self) -> tuple[Layer, ...]:
        return self._layers(0.0)

    def _layers(self, opening: float) -> tuple[Layer, ...]:
        shape = torch.tensor([0.03, 0.002 + OPEN * opening, 1.0])
        mouth = self.mouth * shape + torch.tensor([0.0, 0.03, 0.0])
        return (
            Layer(name="mouth", gaussians=painted(mouth, (0.1, 0.0, 0.0), 0.003), fixed_view=False),
            Layer(name="face", gaussians=painted(self.face, (0.9, 0.7, 0.6), 0.006), fixed_view=False),
            Layer(name="torso", gaussians=painted(self.torso, (0.2, 0.3, 0.6), 0.006), fixed_view=True),
        )


def track(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A recorded track: the head turns left and right and nods; one unit counts the frames."""
    times = torch.arange(frames) / 25
    angles = torch.stack([0.1 * (3 * times).sin(), 0.3 * (2 * times).sin(), 0 * times], -1)
    poses = torch.eye(4).repeat(frames, 1, 1)
    poses[:, :3, :3] = rotations_of_euler(angles)
    poses[:, 2, 3] = DEPTH
    expression = torch.zeros(frames, len(UNITS))
    expression[:, 0] = torch.arange(frames).float()
    return poses, expression


def puppet(size: int = 64, frames: int = 60, channels: int = 128, encoder: str = "embedding") -> SavedAvatar:
    """All that a saved avatar has and that speaking reads."""
    poses, expression = track(frames)
    focal = 2.2 * size
    intrinsics = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    still = torch.eye(4)
    still[2, 3] = DEPTH
    rows = torch.linspace(90, 160, size).to(torch.uint8)
    return SavedAvatar(
        avatar=Puppet(),
        method="puppet",
        preset="none",
        config=MethodConfig(),
        channels=SpeechChannels(channels),
        closed_mouth=0.05,
        speech_encoder=encoder,
        provenance=Provenance(
            consent="a puppet cannot object",
            source="puppet.mp4",
            source_sha256="ab" * 32,
            created="2026-01-01T00:00:00Z",
            tool="talksplat test",
        ),
        reference_camera=Camera(head_to_camera=still, intrinsics=intrinsics, height=size, width=size),
        background=rows[:, None, None].repeat(1, size, 3),
        head_to_camera=poses,
        expression=expression,
        rest_speech=torch.full((channels,), -math.log(19.0)),  # The mouth is then open by 5 %.
    )


def condition(pose: torch.Tensor, speech: float, channels: int = 128) -> Condition:
    """An instant with one value in all speech features."""
    return Condition(speech=torch.full((8, channels, 16), speech), expression=torch.zeros(len(UNITS)), head_pose=pose)
