"""From windows of speech features to one speech code, and the sinusoidal code of a pose.

AudioNet and AudioAttNet are those of the RAD-NeRF / ER-NeRF lineage, which all three methods build on.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from talksplat.speech.windows import WINDOW_STEPS, WINDOWS, WINDOWS_BEFORE

SPEECH_CODE = 32
"""Width of the speech code."""
TOLD_GAIN = 2.0
"""What is told of the lips, in deviations, enters the code as many times as large (ours): at 1 the lips of short
trainings did not quite shut in silence, at 3 GSTalker's eyes hardly did."""


class SpeechWindowNet(nn.Module):
    """One window of features to one code: four strided convolutions over time, two linear layers (AudioNet)."""

    def __init__(self, channels: int, code: int = SPEECH_CODE) -> None:
        super().__init__()
        widths = (channels, 32, 32, 64, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv1d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(0.02)]
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.02), nn.Linear(64, code))

    def forward(self, windows: Float[Tensor, "B channels 16"]) -> Float[Tensor, "B code"]:
        """Codes of a batch of windows."""
        return self.linear(self.convolutions(windows).squeeze(-1))


class WindowAttention(nn.Module):
    """Smooths codes over time: a weighted mean of eight neighbouring windows' codes (AudioAttNet)."""

    def __init__(self, code: int = SPEECH_CODE) -> None:
        super().__init__()
        widths = (code, 16, 8, 4, 2, 1)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv1d(before, after, 3, padding=1), nn.LeakyReLU(0.02)]
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Linear(WINDOWS, WINDOWS)

    def forward(self, codes: Float[Tensor, "B 8 code"]) -> Float[Tensor, "B code"]:
        """The attended code of each item."""
        scores = self.linear(self.convolutions(codes.transpose(1, 2)).squeeze(1))
        return (scores.softmax(-1)[:, :, None] * codes).sum(1)


@dataclass(frozen=True)
class SpeechChannels:
    """Width of the speech features."""

    total: int
    told: int = 0
    """How many of the last ones tell what the lips do, each in deviations of about 1."""


class SpeechNet(nn.Module):
    """Windows around an instant to its speech code.

    What the features tell of the lips at that instant is the code's beginning (ours): a network that had to
    learn it anew from seconds of footage would lose much of it. The rest of the code is the network's own, which hears
    the speech alone.
    """

    def __init__(self, channels: SpeechChannels) -> None:
        super().__init__()
        self.channels = channels
        own = SPEECH_CODE - channels.told
        self.window_net = SpeechWindowNet(channels.total - channels.told, own)
        self.attention = WindowAttention(own)

    def trust_what_is_told(self) -> None:
        """Make the code what is told and nothing else: the network's own part is zero, and may learn from there."""
        for parameter in self.window_net.linear[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, speech: Float[Tensor, "B 8 channels 16"]) -> Float[Tensor, "B code"]:
        """Speech codes of a batch of conditions."""
        batch, windows, channels, steps = speech.shape
        heard = channels - self.channels.told
        middle = slice(WINDOW_STEPS // 2 - 1, WINDOW_STEPS // 2 + 1)
        told = TOLD_GAIN * speech[:, WINDOWS_BEFORE, heard:, middle].mean(-1)
        if self._adds_nothing():
            return F.pad(told, (0, SPEECH_CODE - self.channels.told))
        codes = self.window_net(speech[:, :, :heard].reshape(batch * windows, heard, steps))
        return torch.cat([told, self.attention(codes.reshape(batch, windows, -1))], 1)

    def _adds_nothing(self) -> bool:
        """Whether the network's own part is zero whatever it hears and no gradient is wanted: it need not run."""
        return not torch.is_grad_enabled() and not any(p.any() for p in self.window_net.linear[-1].parameters())


def frequency_code(values: Float[Tensor, " n"], octaves: int, progress: float = 1.0) -> Float[Tensor, " m"]:
    """(sin 2^i pi p, cos 2^i pi p) for i < octaves, of every value (NeRF, Eq. 4; GSTalker uses six octaves).

    ``progress`` below 1 fades octaves in from coarse to fine (annealing as in Nerfies, Eq. 8), so that early
    training cannot tie the torso's fine motion to pose noise.
    """
    octave = torch.arange(octaves, device=values.device, dtype=values.dtype)
    weight = 0.5 * (1 - torch.cos(math.pi * (progress * octaves - octave).clamp(0, 1)))
    angle = values[:, None] * (2.0**octave) * math.pi
    return torch.cat([angle.sin() * weight, angle.cos() * weight], 1).reshape(-1)
