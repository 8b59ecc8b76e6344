"""GSTalker (2024, arXiv:2404.19040): a head deformed by speech and eyes, a torso deformed by the head pose.

The paper has no public code. What it states is marked with its section; what it leaves open is our choice and is
listed, with the reason and the measured gain, in docs/methods.md.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from talksplat.camera import Camera, project
from talksplat.dataset import PortraitDataset, seeded
from talksplat.frame import HEAD_LABELS, UNITS, Condition, Frame, Label
from talksplat.gaussians import RawGaussians, scattered_gaussians
from talksplat.methods.method import (
    DensifyPolicy,
    Draw,
    LossContext,
    Method,
    MethodConfig,
    ParameterGroup,
    Stage,
)
from talksplat.metrics.image import l1_and_ssim
from talksplat.model.articulation import articulation_targets, teach_articulation
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import SPEECH_CODE, SpeechNet
from talksplat.model.decoder import PointDecoder
from talksplat.model.fields import TriPlaneEncoder
from talksplat.model.patches import lip_square, perceptual_patch
from talksplat.model.torso import MOTION_UNIT, TorsoLayer, is_any, slab_half_extent, torso_target

EYE = UNITS.index("eye_opening")


@dataclass(frozen=True)
class GSTalkerConfig(MethodConfig):
    """Settings of GSTalker; the defaults are the paper's, or our choice where it is silent (docs/methods.md)."""

    points: int = 10_000
    """Initial Gaussians of head and torso each (Sec. 3.2)."""
    cube: float = 0.25
    """Half edge of the head's initial cube, metres: side 2 in the paper's scaled coordinates."""
    carve: bool = False
    """Keep only initial points inside the head's (torso's) silhouettes, coloured from the reference frame."""
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
    warm_speech_steps: int = 0
    """Steps in which the speech net first learns the recorded lip shapes by themselves; ours."""
    speech_rate_factor: float = 1.0
    """Rate of the speech net against the other networks after a warm start."""


QUICK = GSTalkerConfig(
    carve=True,
    head_degree=1,
    harmonics_every=300,
    static_steps=600,
    head_steps=5_000,
    torso_static_steps=300,
    torso_steps=1_500,
    joint_steps=1_500,
    densify_until=3_000,
    densify_static_from=200,
    max_points=25_000,
    ssim=0.2,
    means_rate=1e-4,
    perceptual=0.05,
    perceptual_from=0.4,
    perceptual_every=2,
    warm_speech_steps=500,
    speech_rate_factor=0.1,
)


@final
class GSTalker(Avatar):
    """Head (cloud, tri-plane field, speech net, decoder) and torso."""

    def __init__(
        self, config: GSTalkerConfig, channels: int, reference: Camera, seeds: dict[str, RawGaussians]
    ) -> None:
        super().__init__()
        self.cube = config.cube
        self.degree = config.head_degree
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
            code = torch.cat([self.speech_net(condition.speech[None])[0], condition.expression[EYE : EYE + 1]])
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


def build(config: GSTalkerConfig, channels: int, reference: Camera, seeds: dict[str, RawGaussians]) -> GSTalker:
    """An untrained avatar; zero-initialised heads make its deformation the identity."""
    return GSTalker(config, channels, reference, seeds)


def seeds(config: GSTalkerConfig, dataset: PortraitDataset, seed: int) -> dict[str, RawGaussians]:
    """Random points: the head's in its cube, the torso's in its slab; carved by silhouettes where asked."""
    head = _scatter(config, dataset, seed, "head", degree=config.head_degree)
    torso = _scatter(config, dataset, seed, "torso", degree=0)
    return {"head": head, "torso": torso}


def _scatter(config: GSTalkerConfig, dataset: PortraitDataset, seed: int, layer: str, degree: int) -> RawGaussians:
    generator = seeded(seed, "seeds", layer)
    reference = dataset.portrait.reference_camera
    frames = dataset.train_frames[:: max(1, len(dataset.train_frames) // 12)]
    colors, kept = [], []
    found = 0
    while found < config.points:
        cube = torch.rand(4 * config.points, 3, generator=generator) * 2 - 1
        points = (
            cube * config.cube if layer == "head" else _slab_to_world(cube * slab_half_extent(reference), reference)
        )
        if config.carve:
            color, inside = _carve(dataset, frames, points, layer)
            points, color = points[inside], color[inside]
        else:
            color = torch.rand(len(points), 3, generator=generator)
        kept.append(points)
        colors.append(color)
        found += len(points)
    points, color = torch.cat(kept)[: config.points], torch.cat(colors)[: config.points]
    return scattered_gaussians(points, color, degree)


def _slab_to_world(seen: Float[Tensor, "N 3"], reference: Camera) -> Float[Tensor, "N 3"]:
    """From reference-camera axes centred on the head's depth to the world."""
    pose = reference.head_to_camera
    shifted = seen + torch.tensor([0.0, 0.0, float(pose[2, 3])])
    return (shifted - pose[:3, 3]) @ pose[:3, :3]


def _carve(
    dataset: PortraitDataset, frames: list[int], points: Float[Tensor, "N 3"], layer: str
) -> tuple[Float[Tensor, "N 3"], Bool[Tensor, " N"]]:
    """Colour of every point (mean over views) and whether the views' silhouettes hold it.

    A head point must lie in nine tenths of the views that see it; a torso point, drawn under the fixed camera, in
    any view's neck or torso.
    """
    portrait = dataset.portrait
    wanted = HEAD_LABELS if layer == "head" else (Label.NECK, Label.TORSO)
    hits, color, weight = torch.zeros(len(points)), torch.zeros(len(points), 3), torch.zeros(len(points))
    for index in frames:
        camera = portrait.camera(index) if layer == "head" else portrait.reference_camera
        pixels, depth = project(camera, points)
        cells = pixels.floor().long()
        seen = (cells >= 0).all(1) & (cells < portrait.size).all(1) & (depth > 0.05)
        cells = cells.clamp(0, portrait.size - 1)
        labels = torch.from_numpy(portrait.labels(index).copy())
        image = torch.from_numpy(portrait.image(index)).float() / 255
        inside = is_any(labels, wanted)[cells[:, 1], cells[:, 0]] & seen
        hits += inside
        color += image[cells[:, 1], cells[:, 0]] * inside[:, None]
        weight += inside
    enough = 0.9 * len(frames) if layer == "head" else 0.5
    return color / weight.clamp_min(1)[:, None], hits >= enough


def warm_start(config: GSTalkerConfig, avatar: Avatar, dataset: PortraitDataset, seed: int) -> dict[str, float]:
    """Teach the speech net the recorded lip shapes before it ever moves a Gaussian (ours)."""
    assert isinstance(avatar, GSTalker)
    tracks, train = dataset.portrait.tracks, torch.tensor(dataset.train_frames)
    avatar.torso.learn_range(tracks.head_to_camera[train])
    if not config.warm_speech_steps:
        return {}
    targets = articulation_targets(tracks.landmarks[..., :2], tracks.mouth, train)
    generator = seeded(seed, "speech")
    return teach_articulation(avatar.speech_net, dataset.features, targets, train, config.warm_speech_steps, generator)


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

    begin, end = config.densify_static_from, config.densify_until
    table = (
        Stage("head-static", config.static_steps, ("head",), False, densify("head", begin, config.static_steps)),
        Stage("head", config.head_steps, ("head",), True, densify("head", 0, end)),
        Stage(
            "torso-static", config.torso_static_steps, ("torso",), False, densify("torso", begin, config.static_steps)
        ),
        Stage("torso", config.torso_steps, ("torso",), True, densify("torso", 0, min(end, config.torso_steps // 2))),
        Stage("joint", config.joint_steps, ("head", "torso"), True),
    )
    return tuple(stage for stage in table if stage.steps)


def groups(config: GSTalkerConfig, avatar: Avatar, stage: Stage) -> list[ParameterGroup]:
    """Rates of what a stage trains; the position rate falls over the whole of a layer's stages."""
    assert isinstance(avatar, GSTalker)
    found: list[ParameterGroup] = []
    last = stage.name == "joint"
    start = config.means_rate if stage.name.endswith("static") else config.means_rate / 2
    end = config.means_rate / 2 if stage.name.endswith("static") else config.means_rate_end
    for name in stage.layers:
        cloud = avatar.head if name == "head" else avatar.torso.cloud
        damp = 0.2 if last else 1.0
        rates = {
            "means": (config.means_rate_end if last else start, end),
            "quats": (config.rotation_rate * damp, config.rotation_rate * damp),
            "log_scales": (config.scale_rate * damp, config.scale_rate * damp),
            "logit_opacities": (config.opacity_rate * damp, config.opacity_rate * damp),
            "base_color": (config.color_rate * damp, config.color_rate * damp),
            "rest_harmonics": (config.harmonics_rate * damp, config.harmonics_rate * damp),
        }
        for field, (first, final_rate) in rates.items():
            found.append(ParameterGroup(f"{name}.{field}", [getattr(cloud, field)], first, final_rate))
        if stage.deformed:
            found += _network_groups(config, avatar, name, damp)
    return found


def _network_groups(config: GSTalkerConfig, avatar: GSTalker, layer: str, damp: float) -> list[ParameterGroup]:
    """Grids at one rate, networks at another; a warm-started speech net goes on gently."""
    owner: nn.Module = avatar if layer == "head" else avatar.torso
    end = config.network_rate_end_factor
    rates = {"field": config.grid_rate, "decoder": config.network_rate}
    if layer == "head":
        rates["speech_net"] = config.network_rate * config.speech_rate_factor
    return [
        ParameterGroup(f"{layer}.{part}", list(getattr(owner, part).parameters()), rate * damp, rate * damp * end)
        for part, rate in rates.items()
    ]


def losses(
    config: GSTalkerConfig, avatar: Avatar, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """L = L1 + lambda1 mask + lambda2 perceptual + lambda3 lips (Sec. 3.5), on the layer that the stage trains."""
    assert isinstance(avatar, GSTalker)
    if stage.layers == ("torso",):
        return _torso_losses(config, avatar, frame, draw, stage, context)
    head_mask = is_any(frame.labels, HEAD_LABELS)
    degree = min(config.head_degree, context.step // config.harmonics_every) if stage.name == "head-static" else None
    head = draw(avatar.head_layer(frame.condition, deformed=stage.deformed, degree=degree))
    if stage.name == "joint":
        torso = draw(avatar.torso.layer(frame.condition.head_pose, deformed=True))
        behind = torso.colors + (1 - torso.alpha) * context.background
        target = frame.image
    else:
        behind = context.background
        target = torch.where(head_mask[..., None], frame.image, context.background)
    picture = head.colors + (1 - head.alpha) * behind
    mask_weight = config.mask * (0.1 if stage.name == "joint" else 1.0)
    terms = {
        "color": l1_and_ssim(picture, target, 1.0, config.ssim),
        "mask": mask_weight * (head.alpha[..., 0] - head_mask.float()).abs().mean(),
    }
    if stage.deformed:
        rows, columns = lip_square(frame.landmarks, frame.camera)
        terms["lips"] = config.lips * (picture[rows, columns] - target[rows, columns]).abs().mean()
        begin = 0 if stage.name == "joint" else config.perceptual_from * stage.steps
        due = context.step >= begin and context.step % config.perceptual_every == 0
        if context.perceptual is not None and due:
            generator = seeded(context.seed, stage.name, context.step, "patch")
            rows, columns = perceptual_patch(frame, config.patch, stage.name == "joint", generator)
            distance = context.perceptual(picture[rows, columns], target[rows, columns])
            terms["perceptual"] = config.perceptual * distance
    return terms


def _torso_losses(
    config: GSTalkerConfig, avatar: GSTalker, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """Colour and alpha where the torso or its surroundings are seen; behind the head only the inpainted rim."""
    if stage.deformed:
        avatar.torso.anneal(context.step / max(1, stage.steps // 3))
    torso = draw(avatar.torso.layer(frame.condition.head_pose, deformed=stage.deformed))
    target, alpha, counts = torso_target(frame.image, frame.labels, context.background)
    picture = torso.colors + (1 - torso.alpha) * context.background
    share = counts.mean().clamp_min(1e-6)
    color = l1_and_ssim(picture, target, 1.0, config.ssim, counts)
    mask = ((torso.alpha[..., 0] - alpha).abs() * counts).mean() / share
    return {"color": color, "mask": config.mask * mask}


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
