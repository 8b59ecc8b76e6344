"""Who paints the pictures that are judged: the narrow seam between an avatar and its evaluation."""

from __future__ import annotations

import dataclasses
from enum import Enum, auto
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from talksplat.clock import SAMPLES_PER_STEP
from talksplat.dataset import PortraitDataset
from talksplat.frame import UNITS, Condition
from talksplat.methods.avatar_file import SavedAvatar
from talksplat.model.avatar import Avatar, Layer
from talksplat.rasterize.rasterizer import Rasterizer
from talksplat.render import Renderer
from talksplat.speech.silence import gated, silence_gate
from talksplat.speech.windows import windows_of

Picture = UInt8[np.ndarray, "H W 3"]
LIPS_APART = UNITS.index("AU25")


class Drive(Enum):
    """What moves the avatar."""

    SPEECH = auto()
    """The recorded speech of the frame."""
    NOTHING = auto()
    """The deformation is switched off; the head pose is kept."""
    SILENCE = auto()
    """Silence in the place of the recorded speech, as ``speak`` would hear it."""
    BLINK = auto()
    """The upper face of the training frame whose eyes are closed most."""


@runtime_checkable
class Painter(Protocol):
    """Draws the avatar as it should look in a recorded frame."""

    def __call__(self, index: int, drive: Drive) -> Picture:
        """The picture of frame ``index`` (of the whole clip), sRGB."""
        ...


class AvatarPainter:
    """Paints with an avatar along the recorded track of its own portrait."""

    def __init__(
        self,
        saved: SavedAvatar,
        dataset: PortraitDataset,
        rasterizer: Rasterizer,
        device: str = "cpu",
        *,
        recorded: bool = False,
    ) -> None:
        """``recorded``: the frames' own torso lies behind the head instead of the avatar's layer."""
        self._recorded = recorded
        self._dataset = dataset
        # What `speak` makes of a silent recording: its gate is open throughout and leads to the rest state.
        gate = silence_gate(np.zeros(len(dataset.features) * SAMPLES_PER_STEP, np.float32))
        self._silence = gated(dataset.features, torch.from_numpy(gate), saved.rest_speech)
        self._moved = Renderer(saved, rasterizer, device)
        self._still = Renderer(dataclasses.replace(saved, avatar=Undeformed(saved.avatar)), rasterizer, device)
        opening = dataset.expression[dataset.train_frames, LIPS_APART]
        self._lips_apart = opening.median()
        self._blink = dataset.expression[dataset.blink_frame]

    def __call__(self, index: int, drive: Drive) -> Picture:
        """The picture of frame ``index`` (of the whole clip), sRGB."""
        condition = self._condition(index)
        behind = self._dataset.portrait.behind_head(index) if self._recorded else None
        match drive:
            case Drive.SPEECH:
                return self._moved.draw(condition, behind)
            case Drive.NOTHING:
                return self._still.draw(condition, behind)
            case Drive.SILENCE:
                return self._moved.draw(condition.replace(speech=windows_of(self._silence, index)), behind)
            case Drive.BLINK:
                return self._moved.draw(self._condition(index, self._blink), behind)

    def _condition(self, index: int, upper_face: torch.Tensor | None = None) -> Condition:
        """The recorded condition, except that AU25 (lips apart) tells nothing: the lips must come from the speech.

        ``upper_face`` stands for the recorded expression where it is given.
        """
        condition = self._dataset.condition(index)
        expression = (condition.expression if upper_face is None else upper_face).clone()
        expression[LIPS_APART] = self._lips_apart
        return condition.replace(expression=expression)


class Undeformed(Avatar):
    """An avatar that speech does not move."""

    def __init__(self, avatar: Avatar) -> None:
        super().__init__()
        self.avatar = avatar

    def animate(self, condition: Condition) -> tuple[Layer, ...]:
        """The canonical layers, whatever the condition."""
        return self.avatar.canonical()

    def canonical(self) -> tuple[Layer, ...]:
        """The canonical layers."""
        return self.avatar.canonical()
