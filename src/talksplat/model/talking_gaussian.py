"""TalkingGaussian's avatar: Gaussians that persist and only move, a face before an inner mouth before a torso."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from talksplat.camera import Camera
from talksplat.frame import UNITS, Condition
from talksplat.gaussians import SH_CONSTANT, RawGaussians
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import SPEECH_CODE, SpeechChannels, SpeechNet
from talksplat.model.decoder import PointDecoder
from talksplat.model.fields import TriPlaneEncoder
from talksplat.model.regions import RegionDecoder
from talksplat.model.torso import MOTION_UNIT, TorsoLayer

BOUND = 0.15
"""Half edge of the cube that the tri-planes cover, metres."""
UPPER_FACE = tuple(UNITS.index(name) for name in ("AU1", "AU4", "AU5", "AU6", "AU7", "AU45"))
STRONGEST_BLINK = 2.0
"""AU45 is cut off here."""
MOUTH_DAMPING = (0.2, 1.0, 0.2)
"""The inner mouth moves up and down; sideways and in depth a fifth as far."""


@dataclass(frozen=True)
class FaceMotion:
    """What the face's decoder says of every Gaussian, and what it listened to."""

    means: Float[Tensor, "N 3"]
    """Metres."""
    quats: Float[Tensor, "N 4"]
    opacities: Float[Tensor, " N"]
    """Predicted and held small, never applied: the Gaussians persist."""
    log_scales: Float[Tensor, "N 3"]
    attention: tuple[Float[Tensor, "N speech"], Float[Tensor, "N upper"]]
    """To the speech code and to the upper-face units."""


@final
class TalkingGaussian(Avatar):
    """Two clouds with a motion field each, and the torso layer."""

    def __init__(
        self,
        channels: SpeechChannels,
        reference: Camera,
        seeds: dict[str, RawGaussians],
        *,
        decompose: bool,
        face_finest: float,
        upper_face_start: float,
    ) -> None:
        """An avatar of the clouds ``seeds``; without ``decompose`` the mouth is never drawn.

        ``face_finest``: cells a side of the finest grid that the face's motion is looked up in. ``upper_face_start``:
        attention to the upper face before anything is learnt (:class:`RegionDecoder`).
        """
        super().__init__()
        self.decompose = decompose
        self.face = GaussianCloud(seeds["face"])
        self.face_field = TriPlaneEncoder(levels=12, base=16, finest=face_finest, bound=BOUND)
        self.face_speech = SpeechNet(channels)
        self.face_decoder = RegionDecoder(self.face_field.width, 64, 11, start=upper_face_start)
        self.mouth = GaussianCloud(seeds["mouth"])
        self.mouth_field = TriPlaneEncoder(levels=12, base=64, finest=384 * BOUND, bound=BOUND)
        self.mouth_speech = SpeechNet(channels)
        self.mouth_decoder = PointDecoder(self.mouth_field.width, SPEECH_CODE, 32, 3)
        self.torso = TorsoLayer(seeds["torso"], reference)
        self.register_buffer("usual_units", torch.zeros(len(UPPER_FACE)))
        self.usual_units: Tensor
        """What the upper face mostly does: the face's motion is told from the difference."""
        self._face_inputs: tuple[Tensor, tuple[Tensor, Tensor]] | None = None
        self._mouth_products: Tensor | None = None

    def train(self, mode: bool = True) -> "TalkingGaussian":
        """Switch mode; what inference caches is dropped, since training changes it."""
        self._face_inputs = self._mouth_products = None
        return super().train(mode)

    def learn_usual_units(self, expressions: Float[Tensor, "T units"]) -> None:
        """Make the median of recorded expressions the face at rest."""
        self.usual_units.copy_(torch.stack([self._upper_face(one) for one in expressions]).quantile(0.5, 0))

    @staticmethod
    def _upper_face(expression: Float[Tensor, " units"]) -> Float[Tensor, "6"]:
        """AU1, 4, 5, 6, 7, and the blink up to its strongest."""
        units = expression[list(UPPER_FACE)]
        return torch.cat([units[:-1], units[-1:].clamp(0.0, STRONGEST_BLINK)])

    def face_motion(self, condition: Condition) -> FaceMotion:
        """Offsets of the face at one instant (Eq. 4-6): speech and upper face, each by its region attention."""
        if torch.is_grad_enabled():
            inputs, attention = self._read_face()
        else:
            self._face_inputs = self._face_inputs or self._read_face()
            inputs, attention = self._face_inputs
        code = self.face_speech(condition.speech[None])[0]
        offsets = self.face_decoder(inputs, code, self._upper_face(condition.expression) - self.usual_units)
        return FaceMotion(
            means=MOTION_UNIT * offsets[:, :3],
            quats=offsets[:, 3:7],
            opacities=offsets[:, 7],
            log_scales=offsets[:, 8:],
            attention=attention,
        )

    def _read_face(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """What the decoder reads of the points, and their attention: fixed while points and weights are."""
        features = self.face_field(self.face.means)
        attention = self.face_decoder.attention(features)
        return RegionDecoder.inputs(features, attention), attention

    def face_layer(self, motion: FaceMotion | None, degree: int | None = None) -> Layer:
        """The face moved by ``motion``, or at rest."""
        raw = self.face.raw(degree)
        if motion is not None:
            raw = raw.moved(means=motion.means, quats=motion.quats, log_scales=motion.log_scales)
        return Layer(name="face", gaussians=raw.activate(), fixed_view=False)

    def mouth_layer(self, condition: Condition, *, deformed: bool, degree: int | None = None) -> Layer:
        """The inner mouth: speech shifts it, nothing else changes (Sec. 3.3)."""
        raw = self.mouth.raw(degree)
        if deformed:
            code = self.mouth_speech(condition.speech[None])[0]
            if torch.is_grad_enabled():
                shifts = self.mouth_decoder(self.mouth_field(self.mouth.means), code)
            else:
                if self._mouth_products is None:
                    self._mouth_products = self.mouth_decoder.first_layer(self.mouth_field(self.mouth.means))
                shifts = self.mouth_decoder.forward_cached(self._mouth_products, code)
            raw = raw.moved(means=MOTION_UNIT * shifts * shifts.new_tensor(MOUTH_DAMPING))
        return Layer(name="mouth", gaussians=raw.activate(), fixed_view=False)

    def animate(self, condition: Condition) -> tuple[Layer, ...]:
        """Face over mouth over torso."""
        face = self.face_layer(self.face_motion(condition))
        torso = self.torso.layer(condition.head_pose, deformed=True)
        return (face, self.mouth_layer(condition, deformed=True), torso) if self.decompose else (face, torso)

    def canonical(self) -> tuple[Layer, ...]:
        """Face over mouth over torso without deformation."""
        still = self.torso.reference_pose
        condition = Condition(speech=torch.zeros(8, 1, 16), expression=torch.zeros(len(UNITS)), head_pose=still)
        face, torso = self.face_layer(None), self.torso.layer(still, deformed=False)
        return (face, self.mouth_layer(condition, deformed=False), torso) if self.decompose else (face, torso)

    def attention_layer(self, layer: Layer, motion: FaceMotion) -> Layer:
        """The face ``layer`` in the colours of its attention: red to speech, green to the upper face.

        Shape and opacity take no gradient (fact sheet 4.3).
        """
        heard, seen = (part.norm(dim=1) for part in motion.attention)
        values = torch.stack([heard, seen, torch.zeros_like(heard)], 1)
        still = layer.gaussians.map(Tensor.detach)
        gaussians = still.replace(harmonics=((values - 0.5) / SH_CONSTANT)[:, None])
        return Layer(name="attention", gaussians=gaussians, fixed_view=layer.fixed_view)

    def attention(self, condition: Condition) -> tuple[Layer, ...]:
        """Region attention of the face."""
        motion = self.face_motion(condition)
        return (self.attention_layer(self.face_layer(motion), motion),)
