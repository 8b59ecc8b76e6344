"""GaussianTalker's avatar: attributes decoded from a tri-plane, all of them moved by what a place attends to."""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from talksplat.camera import Camera
from talksplat.frame import UNITS, Condition
from talksplat.gaussians import SH_CONSTANT, RawGaussians
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import SpeechChannels, SpeechNet
from talksplat.model.decoder import linear, named_outputs, two_layers
from talksplat.model.planes import PlaneField
from talksplat.model.token_attention import TOKENS, OffsetHeads, TokenAttention, TokenNets, eye_code
from talksplat.model.torso import TorsoLayer

BLINK = UNITS.index("AU45")
STRONGEST_BLINK = 2.0
"""AU45 is cut off here; the eye feature is 1 there."""
TRACKER_UNIT = 0.1
"""Metres in the original's unit of length: position offsets and viewpoints are told in it (fact sheet A2)."""
DECODED_SIZE = 0.1353 * TRACKER_UNIT
"""Standard deviation, metres, that the decoder's zero stands for: exp(-2) of the original's units."""
RESOLUTIONS, CHANNELS = (64, 128), 32
SPEECH_GAIN, EYE_GAIN, NULL_GAIN = 5.0, 6.0, 0.1
"""Of what centered tokens hear, and of null: a net's code deviates by 0.2, what is told by 2, closed eyes by 1."""
STRUCTURE, APPEARANCE = ("means", "log_scales", "quats"), ("logit_opacities", "harmonics")
"""Attributes that offsets may change, by what they say."""


def widths(degree: int) -> dict[str, int]:
    """Numbers of a Gaussian by attribute, for harmonics up to ``degree``."""
    return {"means": 3, "log_scales": 3, "quats": 4, "logit_opacities": 1, "harmonics": 3 * (degree + 1) ** 2}


class CanonicalDecoder(nn.Module):
    """Attributes of a Gaussian from the feature of its place (Sec. 3.2)."""

    def __init__(self, features: int, outs: dict[str, int], hidden: int = 128) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out))
                for name, out in outs.items()
            }
        )
        for head in self.heads.values():
            last = linear(head.get_submodule("3"))
            nn.init.xavier_uniform_(last.weight, gain=0.1)
            nn.init.zeros_(last.bias)

    def forward(self, features: Float[Tensor, "N features"], wanted: tuple[str, ...]) -> dict[str, Tensor]:
        """Raw attributes by name, "N out" each; log-scales are of metres."""
        names = [name for name in self.heads if name in wanted]
        if not names:
            return {}
        into, out = linear(self.trunk[0]), linear(self.trunk[2])
        shared = two_layers(features, into.weight, into.bias, out.weight, out.bias)
        firsts, lasts = ([linear(self.heads.get_submodule(f"{name}.{layer}")) for name in names] for layer in (1, 3))
        rows, bias = torch.cat([layer.weight for layer in firsts]), torch.cat([layer.bias for layer in firsts])
        found = named_outputs(shared, rows, bias, dict(zip(names, lasts, strict=True)))
        if "log_scales" in found:
            found["log_scales"] = found["log_scales"] + math.log(DECODED_SIZE)
        return found


@final
class GaussianTalker(Avatar):
    """The head (cloud, planes, canonical decoder, tokens, attention, offset heads) and the torso layer."""

    def __init__(
        self,
        channels: SpeechChannels,
        reference: Camera,
        seeds: dict[str, RawGaussians],
        *,
        layers: int,
        degree: int,
        dropout: float,
        offsets: tuple[str, ...],
        tokens: tuple[str, ...] = TOKENS,
        rising_eye_code: bool = False,
        centered: bool = False,
    ) -> None:
        """An avatar of the clouds ``seeds``; ``offsets`` names the attributes that change, ``tokens`` what is heard.

        Where ``centered``, the eye and viewpoint tokens hear what differs from open eyes and from the reference view.
        """
        super().__init__()
        self.degree, self.offsets, self.rising_eye_code, self.centered = degree, offsets, rising_eye_code, centered
        self.heard = [TOKENS.index(name) for name in tokens]
        self.head = GaussianCloud(seeds["head"])
        means = seeds["head"].means
        low, high = (means.amin(0), means.amax(0)) if len(means) else (-torch.ones(3), torch.ones(3))
        self.planes = PlaneField(low, high, RESOLUTIONS, CHANNELS)
        outs = widths(degree)
        self.canonical_decoder = CanonicalDecoder(
            self.planes.width, {name: out for name, out in outs.items() if name != "means"}
        )
        self.speech_net = SpeechNet(channels)
        self.tokens = TokenNets(self.planes.width)
        if centered:
            self.tokens.null.data *= NULL_GAIN
        self.attention_layers = nn.ModuleList(TokenAttention(self.planes.width, dropout=dropout) for _ in range(layers))
        self.offset_heads = OffsetHeads(outs, self.planes.width)
        self.torso = TorsoLayer(seeds["torso"], reference)
        self._features: Tensor | None = None

    def train(self, mode: bool = True) -> "GaussianTalker":
        """Switch mode; what inference caches is dropped, since training changes it."""
        self._features = None
        return super().train(mode)

    def decoded_layer(self, wanted: tuple[str, ...], degree: int) -> Layer:
        """The canonical head with the attributes ``wanted`` decoded, which the cloud keeps (fact sheet A3)."""
        values = self.canonical_decoder(self.planes(self.head.means), wanted)
        self._keep(values)
        raw = self.head.raw()
        shaped = {name: value.reshape(getattr(raw, name).shape) for name, value in values.items()}
        raw = raw.replace(**shaped)
        raw = raw.replace(harmonics=raw.harmonics[:, : (degree + 1) ** 2])
        return Layer(name="head", gaussians=raw.activate(), fixed_view=False)

    @torch.no_grad()
    def _keep(self, values: dict[str, Tensor]) -> None:
        """Write decoded attributes into the cloud."""
        for name, value in values.items():
            if name == "harmonics":
                harmonics = value.unflatten(1, (-1, 3))
                self.head.base_color.copy_(harmonics[:, :1])
                self.head.rest_harmonics.copy_(harmonics[:, 1:])
            else:
                parameter = getattr(self.head, name)
                parameter.copy_(value.reshape(parameter.shape))

    def head_layer(
        self, condition: Condition, degree: int | None = None, noise: torch.Generator | None = None
    ) -> Layer:
        """The head at one instant (Sec. 3.3); ``noise`` draws the dropout of training."""
        features, _ = self._attend(condition, noise)
        offsets = self.offset_heads(features, self.offsets)
        raw = self.head.raw(degree)
        changes = {name: getattr(raw, name) + self._shaped(name, value, raw) for name, value in offsets.items()}
        return Layer(name="head", gaussians=raw.replace(**changes).activate(), fixed_view=False)

    @staticmethod
    def _shaped(name: str, value: Tensor, raw: RawGaussians) -> Tensor:
        """An offset as its attribute is stored; positions in metres, harmonics up to the degree in use."""
        if name == "means":
            return TRACKER_UNIT * value
        if name == "harmonics":
            return value.unflatten(1, (-1, 3))[:, : raw.harmonics.shape[1]]
        return value.reshape(getattr(raw, name).shape)

    def _attend(
        self, condition: Condition, noise: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "N 64"], Float[Tensor, "N tokens"]]:
        """Attended features, and the attention to each token that is heard: mean over heads and layers."""
        tokens = self._tokens(condition)
        features = self._features if not torch.is_grad_enabled() else None
        if features is None:
            features = self.planes(self.head.means)
        if not torch.is_grad_enabled():
            self._features = features
        total = features.new_zeros(len(features), len(tokens))
        for layer in self.attention_layers:
            features, shares = layer(features, tokens, noise)
            total = total + shares.detach().mean(1)
        return features, total / len(self.attention_layers)

    def _tokens(self, condition: Condition) -> Float[Tensor, "T 64"]:
        """Speech, eye, viewpoint and null, less those that are not heard."""
        closing = condition.expression[BLINK].clamp(0, STRONGEST_BLINK) / STRONGEST_BLINK
        speech = self.speech_net(condition.speech[None])[0]
        eye, viewpoint = eye_code(closing, rising=self.rising_eye_code), _viewpoint(condition.head_pose)
        if self.centered:
            told = self.speech_net.channels.told
            speech = torch.cat([speech[:told], SPEECH_GAIN * speech[told:]])
            eye = EYE_GAIN * (eye - eye_code(torch.zeros_like(closing), rising=self.rising_eye_code))
            viewpoint = viewpoint - _viewpoint(self.torso.reference_pose)
        return self.tokens(speech, eye, viewpoint)[self.heard]

    def still_layer(self, degree: int | None = None) -> Layer:
        """The canonical head as the cloud holds it."""
        return Layer(name="head", gaussians=self.head.raw(degree).activate(), fixed_view=False)

    def animate(self, condition: Condition) -> tuple[Layer, ...]:
        """Head over torso."""
        return self.head_layer(condition), self.torso.layer(condition.head_pose, deformed=True)

    def canonical(self) -> tuple[Layer, ...]:
        """Head over torso without deformation."""
        return self.still_layer(), self.torso.layer(self.torso.reference_pose, deformed=False)

    def attention(self, condition: Condition) -> tuple[Layer, ...]:
        """Attention to speech (red), eye (green) and viewpoint (blue), each over the range it takes on this head."""
        features, shares = self._attend(condition)
        low, high = shares.amin(0), shares.amax(0)
        scaled = (shares - low) / (high - low).clamp_min(1e-9)
        colors = features.new_zeros(len(features), 3)
        for column, token in enumerate(self.heard):
            if TOKENS[token] != "null":
                colors[:, token] = scaled[:, column]
        head = self.head_layer(condition)
        gaussians = head.gaussians.replace(harmonics=((colors - 0.5) / SH_CONSTANT)[:, None])
        return (Layer(name="attention", gaussians=gaussians, fixed_view=head.fixed_view),)


def _viewpoint(pose: Float[Tensor, "4 4"]) -> Float[Tensor, "12"]:
    """Rotation row by row, then translation in the original's units."""
    return torch.cat([pose[:3, :3].flatten(), pose[:3, 3] / TRACKER_UNIT])
