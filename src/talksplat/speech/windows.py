"""The speech around a frame: one arithmetic for training, films and live streams.

Frame n sees eight windows, those of frames n - 4 ... n + 3. The window of frame m is 16 steps at 50 Hz centred on
its middle: steps 2 m + 1 - 8 ... 2 m + 1 + 7. Together they reach from step 2 n - 15 to step 2 n + 14. Steps outside
the recording are zeros, the mean of standardised features. (Eight windows of 16 steps as in AD-NeRF's audio network.)
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from talksplat.clock import STEPS_PER_FRAME

WINDOWS = 8
WINDOW_STEPS = 16
WINDOWS_BEFORE = 4
"""Windows of earlier frames; one is the frame's own, the rest are later."""
STEPS_BEFORE = WINDOWS_BEFORE * STEPS_PER_FRAME + WINDOW_STEPS // 2 - 1
"""Steps seen before the frame's first step."""
LOOKAHEAD_STEPS = (WINDOWS - 1 - WINDOWS_BEFORE) * STEPS_PER_FRAME + WINDOW_STEPS // 2 - 1
"""Steps needed after the frame's last step: 13, which is 260 ms."""


def windows_of(features: Float[Tensor, "steps channels"], frame: int) -> Float[Tensor, "8 channels 16"]:
    """The eight windows of one frame."""
    return windows_of_frames(features, torch.tensor([frame], device=features.device))[0]


def windows_of_frames(
    features: Float[Tensor, "steps channels"], frames: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch 8 channels 16"]:
    """The eight windows of each of ``frames``, which may lie outside the recording."""
    at = STEPS_PER_FRAME * frames[:, None, None] + _offsets(features.device)
    inside = (at >= 0) & (at < len(features))
    seen = features[at.clamp(0, len(features) - 1)] * inside[..., None].to(features.dtype)
    return seen.transpose(-1, -2)


class WindowStream:
    """Windows of frame after frame, from features that come step by step.

    Frame n comes out as soon as step 2 n + 14 has gone in (:data:`LOOKAHEAD_STEPS` after the frame's own), or
    :meth:`finish` has told that no more will come. The windows equal those of :func:`windows_of`.
    """

    def __init__(self, channels: int) -> None:
        self._held: Float[Tensor, "steps channels"] = torch.zeros(STEPS_BEFORE, channels)
        self._steps = 0
        self._frames = 0
        self._finished = False

    def push(self, features: Float[Tensor, "steps channels"]) -> None:
        """Take in the next steps, standardised."""
        self._held = torch.cat([self._held.to(features), features])
        self._steps += len(features)

    def finish(self) -> None:
        """Tell that the recording has ended; what is left can be popped."""
        missing = -self._steps % STEPS_PER_FRAME + LOOKAHEAD_STEPS
        self._held = torch.cat([self._held, self._held.new_zeros(missing, self._held.shape[1])])
        self._finished = True

    def pop(self) -> Float[Tensor, "8 channels 16"] | None:
        """The windows of the next frame, or None while they are incomplete (or after the last)."""
        needed = STEPS_BEFORE + STEPS_PER_FRAME + LOOKAHEAD_STEPS
        if len(self._held) < needed or (self._finished and self._frames * STEPS_PER_FRAME >= self._steps):
            return None
        at = STEPS_BEFORE + _offsets(self._held.device)
        windows = self._held[at].transpose(-1, -2)
        self._held = self._held[STEPS_PER_FRAME:]
        self._frames += 1
        return windows


def _offsets(device: torch.device) -> Int64[Tensor, "8 16"]:
    """Steps of each window, counted from the first step of the frame in question."""
    window = STEPS_PER_FRAME * (torch.arange(WINDOWS, device=device) - WINDOWS_BEFORE) + 1 - WINDOW_STEPS // 2
    return window[:, None] + torch.arange(WINDOW_STEPS, device=device)
