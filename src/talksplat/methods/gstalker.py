"""GSTalker (2024, arXiv:2404.19040): a head deformed by speech and eyes, a torso deformed by the head pose.

The paper has no public code. What it states is marked with its section; what it leaves open is our choice and is
listed, with the reason and the measured gain, in docs/methods.md.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from talksplat.camera import Camera
from talksplat.dataset import PortraitDataset
from talksplat.frame import UNITS, Condition, Frame
from talksplat.gaussians import RawGaussians
from talksplat.methods.method import (
    DensifyPolicy,
    Draw,
    LossContext,
    Method,
    MethodConfig,
    ParameterGroup,
    Stage,
)
from talksplat.methods.seeding import carved_head, carved_torso, random_head, random_torso, surface_head, surface_torso
from talksplat.methods.shared import (
    behind_the_head,
    cloud_groups,
    composed_head,
    eyes_loss,
    lips_loss,
    patch_distance,
    teach_lips,
    torso_groups,
    torso_losses,
    torso_networks,
    wanted_stages,
)
from talksplat.metrics.image import l1_and_ssim
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import SPEECH_CODE, SpeechChannels, SpeechNet
from talksplat.model.decoder import PointDecoder
from talksplat.model.fields import TriPlaneEncoder
from talksplat.model.torso import MOTION_UNIT, TorsoLayer

EYE = UNITS.index("eye_opening")


@dataclass(frozen=True)
class GSTalkerConfig(MethodConfig):
    """Settings of GSTalker; the defaults are the paper's, or our choice where it is silent (docs/methods.md)."""

    points: int = 10_000
    """Initial Gaussians of head and torso each (Sec. 3.2)."""
    cube: float = 0.25
    """Half edge of the head's initial cube, metres: side 2 in the paper's scaled coordinates."""
    start: Literal["random", "carved", "surface"] = "random"
    """First Gaussians: random in cube and slab; of these, where the silhouettes are; or on the fitted surface.

    The last two are ours and have the pictures' colours.
    """
    head_degree: int = 2
    """Degree of the head's spherical harmonics; the torso's fixed view needs none."""
    harmonics_every: int = 1_000
    """Steps of the static head between two degrees."""
    levels: int = 14
    """Levels of the tri-plane encoder, 64 to 512 cells (Sec. 3.3)."""
    log2_table: int = 14
    """Largest table of one level and plane, log2; larger levels are hashed."""
    static_steps: int = 10_000
    """Static initialisation (Sec. 3.4)."""
    head_steps: int = 100_000
    """Dynamic stage of the head."""
    torso_static_steps: int = 10_000
    """Static initialisation of the torso."""
    torso_steps: int = 100_000
    """Dynamic stage of the torso."""
    joint_steps: int = 0
    """Last stage on the composed picture; ours, closes seams."""
    densify_until: int = 15_000
    """Step of the dynamic stages at which density control ends."""
    densify_static_from: int = 500
    """Step of the static stages at which density control begins."""
    densify_every: int = 100
    """Steps between two rounds of density control."""
    gradient_threshold: float = 0.0002
    """Mean screen gradient above which a Gaussian grows."""
    max_points: int = 60_000
    """Most Gaussians of a layer."""
    ssim: float = 0.0
    """Weight of 1 - SSIM beside L1; the paper has none."""
    mask: float = 0.5
    """Weight of the mask loss (lambda 1)."""
    perceptual: float = 0.2
    """Weight of the perceptual loss on patches (lambda 2)."""
    perceptual_from: float = 0.7
    """Fraction of the dynamic stage after which the perceptual loss begins."""
    perceptual_every: int = 1
    """The perceptual loss enters every so many steps."""
    patch: int = 96
    """Edge of the perceptual patch, pixels."""
    lips: float = 0.4
    """Weight of L1 on the lips square (lambda 3)."""
    closing: float = 3.0
    """The eye feature e enters as this many times 1 - e (ours): one number among 33, near 1 but for blinks, moved no
    lid."""
    warm_speech_steps: int = 0
    """Steps in which the speech net first learns lip shapes by themselves, where features do not tell them; ours."""
    speech_rate_factor: float = 1.0
    """Rate of the speech net against the other networks; at 0 it stays what the warm start taught."""


QUICK = GSTalkerConfig(
    start="carved",
    head_degree=1,
    harmonics_every=150,
    static_steps=300,
    head_steps=3_500,
    torso_static_steps=200,
    torso_steps=1_200,
    joint_steps=1_500,
    densify_until=2_400,
    densify_static_from=100,
    max_points=25_000,
    ssim=0.2,
    eyes=0.8,
    closing=6.0,
    means_rate=1e-4,
    perceptual=0.1,
    perceptual_from=0.4,
    perceptual_every=2,
    patch=128,
    warm_speech_steps=500,
    speech_rate_factor=0.0,
)


@final
class GSTalker(Avatar):
    """Head (cloud, tri-plane field, speech net, decoder) and torso."""

    def __init__(
        self, config: GSTalkerConfig, channels: SpeechChannels, reference: Camera, seeds: dict[str, RawGaussians]
    ) -> None:
        super().__init__()
        self.cube = config.cube
        self.degree, self.closing = config.head_degree, config.closing
        self.head = GaussianCloud(seeds["head"])
        self.field = TriPlaneEncoder(levels=config.levels, base=64, finest=512, log2_table=config.log2_table, bound=1.0)
        self.speech_net = SpeechNet(channels)
        self.decoder = PointDecoder(self.field.width, SPEECH_CODE + 1, 64, 10)
        self.torso = TorsoLayer(seeds["torso"], reference, config.levels, config.log2_table)
        self._products: Tensor | None = None

    def train(self, mode: bool = True) -> "GSTalker":
        """Switch mode; what inference caches is dropped, since training changes it."""
        self._products = None
        return super().train(mode)

    def head_layer(self, condition: Condition, *, deformed: bool, degree: int | None = None) -> Layer:
        """The head at one instant (Sec. 3.3): G' = (mu + dx, q + dq, s + ds, SH, alpha)."""
        raw = self.head.raw(degree)
        if deformed:
            closing = self.closing * (1.0 - condition.expression[EYE : EYE + 1])
            code = torch.cat([self.speech_net(condition.speech[None])[0], closing])
            if torch.is_grad_enabled():
                offsets = self.decoder(self.field(self.head.means / self.cube), code)
            else:
                if self._products is None:
                    self._products = self.decoder.first_layer(self.field(self.head.means / self.cube))
                offsets = self.decoder.forward_cached(self._products, code)
            raw = raw.moved(means=MOTION_UNIT * offsets[:, :3], quats=offsets[:, 3:7], log_scales=offsets[:, 7:])
        return Layer(name="head", gaussians=raw.activate(), fixed_view=False)

    def animate(self, condition: Condition) -> tuple[Layer, ...]:
        """Head over torso."""
        return self.head_layer(condition, deformed=True), self.torso.layer(condition.head_pose, deformed=True)

    def canonical(self) -> tuple[Layer, ...]:
        """Head over torso without deformation."""
        still = self.torso.reference_pose
        condition = Condition(speech=torch.zeros(8, 1, 16), expression=torch.zeros(len(UNITS)), head_pose=still)
        return self.head_layer(condition, deformed=False), self.torso.layer(still, deformed=False)


def build(
    config: GSTalkerConfig, channels: SpeechChannels, reference: Camera, seeds: dict[str, RawGaussians]
) -> GSTalker:
    """An untrained avatar; zero-initialised heads make its deformation the identity."""
    return GSTalker(config, channels, reference, seeds)


def seeds(config: GSTalkerConfig, dataset: PortraitDataset, seed: int) -> dict[str, RawGaussians]:
    """The head in its cube and the torso in its slab at random (Sec. 3.2), or where the pictures show them."""
    if config.start == "carved":
        return {
            "head": carved_head(dataset, config.points, config.cube, config.head_degree, seed),
            "torso": carved_torso(dataset, config.points, seed),
        }
    if config.start == "surface":
        return {
            "head": surface_head(dataset, config.points, config.head_degree),
            "torso": surface_torso(dataset, config.points),
        }
    return {
        "head": random_head(dataset, config.points, config.cube, config.head_degree, seed),
        "torso": random_torso(dataset, config.points, seed),
    }


def warm_start(config: GSTalkerConfig, avatar: Avatar, dataset: PortraitDataset, seed: int) -> dict[str, float]:
    """Teach the speech net lip shapes before it ever moves a Gaussian (ours)."""
    assert isinstance(avatar, GSTalker)
    avatar.torso.learn_range(dataset.portrait.tracks.head_to_camera[torch.tensor(dataset.train_frames)])
    return teach_lips(avatar.speech_net, dataset, config.warm_speech_steps, seed)


def stages(config: GSTalkerConfig) -> tuple[Stage, ...]:
    """Static head, dynamic head, static torso, dynamic torso, and the joint finish where asked."""

    def densify(cloud: str, start: int, stop: int) -> tuple[DensifyPolicy, ...]:
        policy = DensifyPolicy(
            cloud=cloud,
            start=start,
            stop=stop,
            every=config.densify_every,
            gradient_threshold=config.gradient_threshold,
            max_points=config.max_points,
        )
        return (policy,)

    begin, end, still = config.densify_static_from, config.densify_until, config.torso_static_steps
    table = (
        Stage("head-static", config.static_steps, ("head",), False, densify("head", begin, config.static_steps)),
        Stage("head", config.head_steps, ("head",), True, densify("head", 0, end), cost=1.3),
        Stage("torso-static", still, ("torso",), False, densify("torso", begin, still)),
        Stage("torso", config.torso_steps, ("torso",), True, densify("torso", 0, min(end, config.torso_steps // 2))),
        Stage("joint", config.joint_steps, ("head", "torso") if config.torso == "own" else ("head",), True),
    )
    return wanted_stages(config, table)


def groups(config: GSTalkerConfig, avatar: Avatar, stage: Stage) -> list[ParameterGroup]:
    """Rates of what a stage trains; the position rate falls over the whole of a layer's stages."""
    assert isinstance(avatar, GSTalker)
    if stage.layers == ("torso",):
        return torso_groups(config, avatar.torso, stage)
    joint = stage.name == "joint"
    damp, half, end = 0.2 if joint else 1.0, config.means_rate / 2, config.means_rate_end
    means = (end if joint else half, end) if stage.deformed else (config.means_rate, half)
    found = cloud_groups(config, "head", avatar.head, means, damp)
    if stage.deformed:
        found += _head_networks(config, avatar, damp)
    if "torso" in stage.layers:
        found += cloud_groups(config, "torso", avatar.torso.cloud, means, damp)
        found += torso_networks(config, avatar.torso, damp)
    return found


def _head_networks(config: GSTalkerConfig, avatar: GSTalker, damp: float) -> list[ParameterGroup]:
    """Grid at one rate, networks at another, a warm-started speech net at its share of that."""
    end = config.network_rate_end_factor
    rates = {
        "field": config.grid_rate,
        "decoder": config.network_rate,
        "speech_net": config.network_rate * config.speech_rate_factor,
    }
    return [
        ParameterGroup(f"head.{part}", list(getattr(avatar, part).parameters()), rate * damp, rate * damp * end)
        for part, rate in rates.items()
    ]


def losses(
    config: GSTalkerConfig, avatar: Avatar, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """L = L1 + lambda1 mask + lambda2 perceptual + lambda3 lips (Sec. 3.5), on the layer that the stage trains."""
    assert isinstance(avatar, GSTalker)
    if stage.layers == ("torso",):
        return torso_losses(avatar.torso, frame, draw, stage, context, ssim=config.ssim, mask=config.mask)
    degree = min(config.head_degree, context.step // config.harmonics_every) if stage.name == "head-static" else None
    head = draw(avatar.head_layer(frame.condition, deformed=stage.deformed, degree=degree))
    behind = behind_the_head(avatar.torso, frame, draw, stage, context.background)
    picture, target, head_mask = composed_head(head.colors, head.alpha, behind, frame, whole=stage.name == "joint")
    mask_weight = config.mask * (0.1 if stage.name == "joint" else 1.0)
    terms = {
        "color": l1_and_ssim(picture, target, 1.0, config.ssim),
        "mask": mask_weight * (head.alpha[..., 0] - head_mask).abs().mean(),
    }
    if stage.deformed:
        terms["lips"] = config.lips * lips_loss(picture, target, frame)
        if config.eyes:
            terms["eyes"] = config.eyes * eyes_loss(picture, target, frame)
        begin = 0 if stage.name == "joint" else config.perceptual_from * stage.steps
        due = context.step >= begin and context.step % config.perceptual_every == 0
        if context.perceptual is not None and due:
            whole = stage.name == "joint"
            distance = patch_distance(context, stage, frame, picture, target, edge=config.patch, whole=whole)
            terms["perceptual"] = config.perceptual * distance
    return terms


METHOD = Method(
    name="gstalker",
    title="GSTalker",
    paper="arXiv:2404.19040",
    presets={"quick": QUICK, "full": GSTalkerConfig()},
    seeds=seeds,
    build=build,
    warm_start=warm_start,
    stages=stages,
    groups=groups,
    losses=losses,
)
