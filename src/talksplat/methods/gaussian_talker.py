"""GaussianTalker (ACM MM 2024, arXiv:2404.16012) and its fast variant: every attribute follows the speech.

Section numbers are the paper's. Where paper and released code differ, docs/methods.md says which is followed and why.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from talksplat.camera import Camera
from talksplat.dataset import PortraitDataset, seeded
from talksplat.frame import Frame
from talksplat.gaussians import RawGaussians
from talksplat.methods.method import DensifyPolicy, Draw, LossContext, Method, MethodConfig, ParameterGroup, Stage
from talksplat.methods.seeding import carved_head, carved_torso, face_and_volume, random_torso
from talksplat.methods.shared import (
    behind_the_head,
    cloud_groups,
    composed_head,
    eyes_loss,
    lips_loss,
    network_group,
    patch_distance,
    teach_lips,
    torso_groups,
    torso_losses,
    torso_networks,
    torso_stages,
    wanted_stages,
)
from talksplat.metrics.image import l1_and_ssim
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.conditioning import SpeechChannels
from talksplat.model.gaussian_talker import APPEARANCE, STRUCTURE, GaussianTalker
from talksplat.model.token_attention import TOKENS

CUBE = 0.15
"""Half edge of the cube that carved points are drawn in, metres."""
PERCEPTUAL_EDGE = 224
"""Pictures are resized to this for the perceptual loss (fact sheet A6)."""
Attributes = Literal["none", "structure", "appearance", "all"]


def _attributes(which: Attributes) -> tuple[str, ...]:
    """Names of the attributes of a choice."""
    return (STRUCTURE if which in ("structure", "all") else ()) + (APPEARANCE if which in ("appearance", "all") else ())


@dataclass(frozen=True)
class GaussianTalkerConfig(MethodConfig):
    """Settings of GaussianTalker; the defaults are the released code's, or the paper's where they measure better."""

    layers: int = 2
    """Layers of attention; the fast variant has one (fact sheet A5)."""
    points: int = 34_650
    """Initial Gaussians of the head."""
    torso_points: int = 10_000
    """Initial Gaussians of the torso layer."""
    start: Literal["surface", "carved"] = "surface"
    """First Gaussians: on the fitted face surface and in the head behind it; or where the silhouettes are (ours)."""
    degree: int = 3
    """Degree of the spherical harmonics."""
    harmonics_every: int = 1_000
    """Steps between two degrees, from 0."""
    decoded: Attributes = "all"
    """Attributes that the canonical decoder tells: the paper's, or (``appearance``) the code's two configurations'."""
    offsets: Attributes = "all"
    """Attributes that change over time."""
    tokens: Literal["all", "speech"] = "all"
    """All four, or speech alone (an ablation)."""
    rising_eye_code: bool = False
    """Frequencies of the eye feature's code as released (rising to 5,623 radians), not the classic form."""
    token_inputs: Literal["published", "centered"] = "published"
    """What tokens hear: published codes, or (ours) what differs from open eyes and the reference view, louder."""
    dropout: float = 0.2
    """Of the attention layers."""
    static_steps: int = 7_999
    """Canonical stage."""
    steps: int = 10_000
    """Deformation stage."""
    frames: int = 32
    """Frames of a step of the deformation stage."""
    joint_steps: int = 0
    """Last stage on the composed picture, with the torso layer; ours, closes seams."""
    torso_static_steps: int = 8_000
    """Static initialisation of the torso layer (ours)."""
    torso_steps: int = 20_000
    """Deformed steps of the torso layer (ours)."""
    span: int = 20_000
    """Steps over which the rates of positions, planes and networks fall; each stage begins anew."""
    means_rate: float = 3.2e-5
    """Of positions, metres a step: 1.6e-4 of the original's units times an extent of 2."""
    means_rate_end: float = 3.2e-7
    """The same after ``span`` steps."""
    grid_rate: float = 3.2e-3
    """Of the planes: 1.6e-3 times the extent."""
    network_rate: float = 2e-4
    """Of all networks: 1e-4 times the extent."""
    speech_rate_factor: float = 1.0
    """Rate of the speech net against the other networks; at 0 it stays what the warm start taught."""
    warm_speech_steps: int = 0
    """Steps in which the speech net first learns lip shapes by themselves, where features do not tell them; ours."""
    densify_from: int = 500
    """Step of the canonical stage at which faint Gaussians begin to go; growth begins at twice this."""
    densify_until: int = 7_000
    """Step of the canonical stage at which growth ends."""
    densify_every: int = 100
    """Steps between two rounds of density control."""
    gradient_threshold: float = 0.001
    """Mean screen gradient above which a Gaussian grows."""
    max_points: int = 50_000
    """Most Gaussians of a layer."""
    max_radius: float = 20.0
    """Pixels of a Gaussian's three deviations above which it goes, late in the growth."""
    l1: float = 0.8
    """Weight of L1."""
    ssim: float = 0.2
    """Weight of 1 - SSIM."""
    perceptual: float = 0.01
    """Weight of the perceptual loss."""
    perceptual_view: Literal["whole", "patch"] = "whole"
    """What it sees: the picture at 224 pixels, or a patch at full size (ours)."""
    perceptual_every: int = 1
    """It enters every so many steps."""
    patch: int = 128
    """Edge of the patch, pixels."""
    lips: float = 0.4
    """Weight of L1 on the lips square: the code's; the paper says 0.8."""
    lips_stages: Literal["both", "deformation"] = "both"
    """Stages that have the lips loss: the code's; the paper has it in the deformation alone."""
    mask: float = 0.4
    """Weight of the mask loss; on accumulated alpha, where the code takes a squashed depth."""


FULL = GaussianTalkerConfig()
QUICK = GaussianTalkerConfig(
    points=10_000,
    start="carved",
    degree=1,
    harmonics_every=150,
    token_inputs="centered",
    dropout=0.0,
    static_steps=600,
    steps=2_000,
    frames=1,
    joint_steps=1_500,
    torso_points=10_000,
    torso_static_steps=200,
    torso_steps=1_200,
    span=4_000,
    means_rate=1e-4,
    means_rate_end=1e-6,
    grid_rate=5e-3,
    network_rate=1e-3,
    speech_rate_factor=0.0,
    warm_speech_steps=500,
    densify_from=50,
    densify_until=600,
    gradient_threshold=0.0003,
    max_points=20_000,
    max_radius=150.0,
    eyes=0.8,
    perceptual=0.1,
    perceptual_view="patch",
    perceptual_every=2,
)


def build(
    config: GaussianTalkerConfig, channels: SpeechChannels, reference: Camera, seeds: dict[str, RawGaussians]
) -> GaussianTalker:
    """An untrained avatar; zero-initialised heads make its deformation the identity."""
    return GaussianTalker(
        channels,
        reference,
        seeds,
        layers=config.layers,
        degree=config.degree,
        dropout=config.dropout,
        offsets=_attributes(config.offsets),
        tokens=TOKENS if config.tokens == "all" else TOKENS[:1],
        rising_eye_code=config.rising_eye_code,
        centered=config.token_inputs == "centered",
    )


def seeds(config: GaussianTalkerConfig, dataset: PortraitDataset, seed: int) -> dict[str, RawGaussians]:
    """Points of the fitted head (Sec. 3.2), or of the silhouettes; the torso's in its slab."""
    if config.start == "surface":
        return {
            "head": face_and_volume(dataset, config.points, config.degree, seed),
            "torso": random_torso(dataset, config.torso_points, seed),
        }
    return {
        "head": carved_head(dataset, config.points, CUBE, config.degree, seed),
        "torso": carved_torso(dataset, config.torso_points, seed),
    }


def warm_start(config: GaussianTalkerConfig, avatar: Avatar, dataset: PortraitDataset, seed: int) -> dict[str, float]:
    """Teach the speech net lip shapes before it ever moves a Gaussian (ours)."""
    assert isinstance(avatar, GaussianTalker)
    avatar.torso.learn_range(dataset.portrait.tracks.head_to_camera[torch.tensor(dataset.train_frames)])
    return teach_lips(avatar.speech_net, dataset, config.warm_speech_steps, seed)


def stages(config: GaussianTalkerConfig) -> tuple[Stage, ...]:
    """Canonical head, its deformation (Sec. 3.4), our torso, and the joint finish where asked."""
    table = (
        Stage("head-static", config.static_steps, ("head",), False, _density(config), cost=0.8),
        Stage("head", config.steps, ("head",), True, frames=config.frames, cost=2.0 * config.frames),
        *torso_stages(
            config.torso_static_steps, config.torso_steps, every=config.densify_every, most=config.max_points
        ),
        Stage("joint", config.joint_steps, ("head", "torso") if config.torso == "own" else ("head",), True, cost=2.5),
    )
    return wanted_stages(config, table)


def _density(config: GaussianTalkerConfig) -> tuple[DensifyPolicy, ...]:
    """Faint ones go first, growth sets in, and from three sevenths of it on large ones go too (fact sheet A6)."""
    first, last, end = config.densify_from, config.densify_until, config.static_steps
    large = last * 3 // 7
    rounds = (
        (first, 2 * first, False, False),
        (2 * first, large, True, False),
        (large, last, True, True),
        (last, end, False, True),
    )
    return tuple(
        DensifyPolicy(
            cloud="head",
            start=start,
            stop=stop,
            every=config.densify_every,
            gradient_threshold=config.gradient_threshold if grows else float("inf"),
            split_size=0.002,
            min_opacity=0.005,
            max_size=0.02 if bounded else float("inf"),
            max_radius_px=config.max_radius if bounded else float("inf"),
            max_points=config.max_points,
        )
        for start, stop, grows, bounded in rounds
        if stop > start
    )


def groups(config: GaussianTalkerConfig, avatar: Avatar, stage: Stage) -> list[ParameterGroup]:
    """Rates of what a stage trains; each stage's fall anew over ``span`` steps (fact sheet A6)."""
    assert isinstance(avatar, GaussianTalker)
    if stage.layers == ("torso",):
        return torso_groups(config, avatar.torso, stage)
    joint = stage.name == "joint"
    damp = 0.2 if joint else 1.0
    fall = min(1.0, stage.steps / config.span)
    factors = (damp, damp * 0.1**fall)
    means = config.means_rate * damp, config.means_rate * damp * (config.means_rate_end / config.means_rate) ** fall
    found = cloud_groups(config, "head", avatar.head, means, damp)
    if not stage.deformed:
        told = {f"head.{name}" for name in _parameters(config.decoded)}
        found = [group for group in found if group.name not in told]
    found.append(network_group("head.planes", list(avatar.planes.parameters()), config.grid_rate, factors))
    parts = ("tokens", "attention_layers", "offset_heads") if stage.deformed else ("canonical_decoder",)
    for part in parts:
        found.append(
            network_group(f"head.{part}", list(getattr(avatar, part).parameters()), config.network_rate, factors)
        )
    if stage.deformed:
        rate = config.network_rate * config.speech_rate_factor
        found.append(network_group("head.speech_net", list(avatar.speech_net.parameters()), rate, factors))
    if "torso" in stage.layers:
        found += cloud_groups(config, "torso", avatar.torso.cloud, means, damp)
        found += torso_networks(config, avatar.torso, damp)
    return found


def _parameters(which: Attributes) -> tuple[str, ...]:
    """The cloud's parameters that hold the attributes of a choice."""
    names = [name for name in _attributes(which) if name not in ("means", "harmonics")]
    return (*names, *(("base_color", "rest_harmonics") if "harmonics" in _attributes(which) else ()))


def losses(
    config: GaussianTalkerConfig, avatar: Avatar, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """0.8 L1 + 0.2 (1 - SSIM) + perceptual + lips + mask (Sec. 3.4), on the layer that the stage trains."""
    assert isinstance(avatar, GaussianTalker)
    if stage.layers == ("torso",):
        return torso_losses(avatar.torso, frame, draw, stage, context, ssim=config.ssim, mask=config.mask)
    joint = stage.name == "joint"
    head = draw(_head(config, avatar, frame, stage, context))
    behind = behind_the_head(avatar.torso, frame, draw, stage, context.background)
    picture, target, mask = composed_head(head.colors, head.alpha, behind, frame, whole=joint)
    terms = {
        "color": l1_and_ssim(picture, target, config.l1, config.ssim),
        "mask": config.mask * (0.1 if joint else 1.0) * (head.alpha[..., 0] - mask).abs().mean(),
    }
    if stage.deformed or config.lips_stages == "both":
        terms["lips"] = config.lips * lips_loss(picture, target, frame)
    if config.eyes and stage.deformed:
        terms["eyes"] = config.eyes * eyes_loss(picture, target, frame)
    if context.perceptual is not None and context.step % config.perceptual_every == 0:
        if config.perceptual_view == "patch":
            distance = patch_distance(
                context, stage, frame, picture, target, edge=config.patch, whole=joint, tag=frame.index
            )
        else:
            distance = context.perceptual(_resized(picture), _resized(target))
        terms["perceptual"] = config.perceptual * distance
    return terms


def _head(
    config: GaussianTalkerConfig, avatar: GaussianTalker, frame: Frame, stage: Stage, context: LossContext
) -> Layer:
    """The head as the stage draws it: decoded, or moved."""
    if stage.deformed:
        noise = seeded(context.seed, stage.name, context.step, frame.index, "dropout") if config.dropout else None
        return avatar.head_layer(frame.condition, noise=noise)
    degree = min(config.degree, context.step // config.harmonics_every)
    decoded = _attributes(config.decoded)
    return avatar.decoded_layer(decoded, degree) if decoded else avatar.still_layer(degree)


def _resized(picture: Tensor) -> Tensor:
    """The picture at the perceptual loss's size."""
    edge = min(PERCEPTUAL_EDGE, *picture.shape[:2])
    planes = picture.permute(2, 0, 1)[None]
    return F.interpolate(planes, (edge, edge), mode="bilinear", antialias=True)[0].permute(1, 2, 0)


METHOD = Method(
    name="gaussian-talker",
    title="GaussianTalker",
    paper="arXiv:2404.16012",
    presets={"quick": QUICK, "full": FULL},
    seeds=seeds,
    build=build,
    warm_start=warm_start,
    stages=stages,
    groups=groups,
    losses=losses,
)
FAST = replace(
    METHOD,
    name="gaussian-talker-fast",
    title="GaussianTalker, fast",
    presets={"quick": replace(QUICK, layers=1), "full": replace(FULL, layers=1)},
)
