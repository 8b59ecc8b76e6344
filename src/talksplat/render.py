"""From an avatar to pictures: its layers drawn, composed and rounded, and the recorded track it moves along.

Nothing of training and no face tracker is needed here. Pictures are sRGB; poses are ``head_to_camera`` in metres.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from talksplat.camera import Camera
from talksplat.frame import Condition
from talksplat.methods.avatar_file import SavedAvatar
from talksplat.model.avatar import Layer
from talksplat.rasterize.composition import compose
from talksplat.rasterize.rasterizer import Rasterizer, Rendered

TURN_FRAMES = 4 / (1 - 2 / math.pi)
"""Half the length of a turn at the ends of the track, frames: 0.44 s to slow down, as long to speed up.

Of this length a turn takes exactly four frames longer than unslowed motion, so between the turns the recorded
instants themselves are played, not mixtures of two.
"""


class Renderer:
    """Draws one avatar with one rasterizer."""

    def __init__(self, saved: SavedAvatar, rasterizer: Rasterizer, device: str = "cpu") -> None:
        """A renderer on ``device``, which must be one that ``rasterizer`` draws on."""
        self.avatar = saved.avatar.eval().to(device)
        self.rasterizer = rasterizer
        self.device = device
        self.reference_camera = saved.reference_camera.to(device)
        self.background = saved.background.to(device).float() / 255

    @torch.no_grad()
    def layers(self, condition: Condition, *, torso: bool = True) -> dict[str, Rendered]:
        """Every layer of one instant by name, nearest first, each over nothing; ``torso``: that of fixed view, too."""
        condition = condition.to(self.device)
        layers = [layer for layer in self.avatar.animate(condition) if torso or not layer.fixed_view]
        return {layer.name: self.rasterizer(layer.gaussians, self._view(layer, condition)) for layer in layers}

    @torch.no_grad()
    def draw(self, condition: Condition, behind: Float[Tensor, "H W 3"] | None = None) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of one instant, rounded to 8 bits: layers composed over the background plate.

        With a picture ``behind`` (:mod:`talksplat.recorded`) that one takes the place of plate and torso layer.
        """
        if behind is None:
            picture = compose(list(self.layers(condition).values()), self.background)
        else:
            picture = compose(list(self.layers(condition, torso=False).values()), behind.to(self.background))
        return picture.clamp_(0, 1).mul_(255).round_().to(torch.uint8).cpu().numpy()

    @torch.no_grad()
    def attention(self, condition: Condition) -> dict[str, Rendered]:
        """What the avatar listens to at one instant, where its method has attention; see ``Avatar.attention``."""
        condition = condition.to(self.device)
        layers = self.avatar.attention(condition)
        return {layer.name: self.rasterizer(layer.gaussians, self._view(layer, condition)) for layer in layers}

    def _view(self, layer: Layer, condition: Condition) -> Camera:
        if layer.fixed_view:
            return self.reference_camera
        return self.reference_camera.replace(head_to_camera=condition.head_pose)


class DrivingTrack:
    """The recorded poses and expressions played forth and back for any length, with smooth turns.

    Between the turns the track runs at its own speed, frame for frame. In a turn the speed follows a half cosine
    from +1 to -1, so position, speed and acceleration are continuous: the head slows down, stops and goes back.
    """

    def __init__(
        self,
        head_to_camera: Float[Tensor, "T 4 4"],
        expression: Float[Tensor, "T unit"],
        start: int | float = 0,
    ) -> None:
        """A track of at least one instant; ``start`` is the place in it, frames, where the first output frame lies."""
        from scipy.spatial.transform import Rotation, Slerp

        if len(head_to_camera) == 1:  # One instant is a track that stands still.
            head_to_camera, expression = head_to_camera.repeat(2, 1, 1), expression.repeat(2, 1)
        poses = head_to_camera.double().cpu().numpy()
        self._length = len(poses) - 1
        self._rotations = Slerp(np.arange(len(poses)), Rotation.from_matrix(poses[:, :3, :3]))
        self._translations = poses[:, :3, 3]
        self._poses, self._expression = head_to_camera.float().cpu(), expression.cpu()
        self._turn = min(TURN_FRAMES, self._length * math.pi / 8)
        self._reach = 2 * self._turn / math.pi
        self._offset = self._time_at(float(start))

    @property
    def period(self) -> float:
        """Frames until the track repeats itself."""
        return 2 * (self._length - 2 * self._reach) + 4 * self._turn

    def place(self, frame: int | float) -> float:
        """Where in the recorded track (a fractional index) output frame ``frame`` takes its pose."""
        time = (frame + self._offset) % self.period
        if time > self.period / 2:  # The way back mirrors the way forth.
            time = self.period - time
        # At the ends rounding must not lead out of the recording.
        return min(max(self._forth(float(time)), 0.0), float(self._length))

    def at(self, frame: int | float) -> tuple[Float[Tensor, "4 4"], Float[Tensor, " unit"]]:
        """Head pose and expression of output frame ``frame``; rotations between recorded frames by slerp."""
        place = self.place(frame)
        low = min(int(place), self._length - 1)
        high, weight = low + 1, place - low
        pose = np.eye(4)
        pose[:3, :3] = self._rotations(place).as_matrix()
        pose[:3, 3] = (1 - weight) * self._translations[low] + weight * self._translations[high]
        expression = torch.lerp(self._expression[low], self._expression[high], weight)
        return torch.from_numpy(pose).float(), expression

    def recorded(self, place: int) -> tuple[Float[Tensor, "4 4"], Float[Tensor, " unit"]]:
        """Head pose and expression of recorded frame ``place`` itself."""
        return self._poses[place], self._expression[place]

    def _forth(self, time: float) -> float:
        """Place at ``time`` of half a period: half a turn at the near end, the run, half a turn at the far end."""
        turn, reach = self._turn, self._reach
        run = self._length - 2 * reach
        if time < turn:
            return reach * (1 - math.cos(math.pi * time / (2 * turn)))
        if time <= turn + run:
            return reach + (time - turn)
        return reach + run + reach * math.sin(math.pi * (time - turn - run) / (2 * turn))

    def _time_at(self, start: float) -> float:
        """The time of the way forth at which the track is at ``start``."""
        turn, reach = self._turn, self._reach
        start = min(max(start, 0.0), float(self._length))
        if start < reach:
            return 2 * turn / math.pi * math.acos(1 - start / reach)
        if start <= self._length - reach:
            return turn + start - reach
        return turn + self._length - 2 * reach + 2 * turn / math.pi * math.asin((start - self._length + reach) / reach)
