"""TalkingGaussian (ECCV 2024, arXiv:2404.15264): Gaussians that persist and only move; face and inner mouth apart.

Section numbers are the paper's. Where paper and released code differ, docs/methods.md says which is followed and why.
"""

import torch
from torch import Tensor

from talksplat.camera import Camera
from talksplat.dataset import PortraitDataset
from talksplat.frame import Frame
from talksplat.gaussians import RawGaussians
from talksplat.methods.incremental import face_windows, mouth_windows
from talksplat.methods.method import (
    DensifyPolicy,
    Draw,
    LossContext,
    Method,
    ParameterGroup,
    Stage,
)
from talksplat.methods.seeding import carved_head, carved_torso, inner_mouth, random_head, random_torso
from talksplat.methods.shared import (
    cloud_groups,
    network_group,
    teach_lips,
    torso_groups,
    torso_losses,
    torso_networks,
    torso_stages,
)
from talksplat.methods.talking_gaussian_config import QUICK, TalkingGaussianConfig
from talksplat.methods.talking_gaussian_losses import KEY, face_losses, fuse_losses, mouth_losses
from talksplat.model.avatar import Avatar
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import SpeechChannels
from talksplat.model.talking_gaussian import TalkingGaussian

SHAPE = ("means", "quats", "log_scales")
"""Parameters of a cloud that the published fusion leaves as they are."""
CUBE = 0.1
"""Half edge of the cube that face and mouth start in, metres."""


def build(
    config: TalkingGaussianConfig, channels: SpeechChannels, reference: Camera, seeds: dict[str, RawGaussians]
) -> TalkingGaussian:
    """An untrained avatar; zero-initialised heads make its deformation the identity."""
    return TalkingGaussian(
        channels,
        reference,
        seeds,
        decompose=config.decompose,
        face_finest=config.face_finest,
        upper_face_start=config.upper_face_start,
    )


def seeds(config: TalkingGaussianConfig, dataset: PortraitDataset, seed: int) -> dict[str, RawGaussians]:
    """Random points in a cube of 0.2 m (Sec. 4.1); or where the silhouettes are, with the pictures' colours."""
    if config.start == "carved":
        return {
            "face": carved_head(dataset, config.face_points, CUBE, config.degree, seed),
            "mouth": inner_mouth(dataset, config.mouth_points, config.degree, seed),
            "torso": carved_torso(dataset, config.torso_points, seed),
        }
    return {
        "face": random_head(dataset, config.face_points, CUBE, config.degree, seed),
        "mouth": random_head(dataset, config.mouth_points, CUBE, config.degree, seed + 1),
        "torso": random_torso(dataset, config.torso_points, seed),
    }


def warm_start(config: TalkingGaussianConfig, avatar: Avatar, dataset: PortraitDataset, seed: int) -> dict[str, float]:
    """Teach both speech nets lip shapes before they ever move a Gaussian (ours)."""
    assert isinstance(avatar, TalkingGaussian)
    train = torch.tensor(dataset.train_frames)
    avatar.torso.learn_range(dataset.portrait.tracks.head_to_camera[train])
    if config.rest_units == "median":
        avatar.learn_usual_units(dataset.expression[train])
    figures = teach_lips(avatar.face_speech, dataset, config.warm_speech_steps, seed)
    if config.warm_speech_steps or dataset.channels.told:
        avatar.mouth_speech.load_state_dict(avatar.face_speech.state_dict())
    return figures


def stages(config: TalkingGaussianConfig) -> tuple[Stage, ...]:
    """The mouth's branch, the face's branch, our torso, the fusion; a new stage wherever a schedule has a kink."""
    mouth = _branch(
        config,
        "mouth",
        {
            "static": config.static_until,
            "window": config.mouth_window_until,
            "late": config.settled_from,
            "settled": config.branch_until,
            "color": config.branch_steps,
        },
    )
    face = _branch(
        config,
        "face",
        {
            "static": config.static_until,
            "window": config.face_window_until,
            "late": config.settled_from,
            "settled": config.face_perceptual_from,
            "perceptual": config.branch_steps,
        },
    )
    still, moving = config.at(config.torso_static_steps), config.at(config.torso_steps)
    torso = torso_stages(still, moving, every=config.density_round, most=config.max_points)
    drawn = {"face": True, "mouth": config.decompose, "torso": config.torso == "own"}
    fuse = Stage("fuse", config.at(config.fuse_steps), tuple(layer for layer in drawn if drawn[layer]), True)
    return tuple(stage for stage in (*mouth, *face, *torso, fuse) if stage.steps and all(map(drawn.get, stage.layers)))


def _branch(config: TalkingGaussianConfig, layer: str, ends: dict[str, int]) -> tuple[Stage, ...]:
    """The stages of face or mouth; ``ends`` are the branch's milestones after each."""
    found, begin = [], 0
    windows = mouth_windows if layer == "mouth" else face_windows
    span = config.at(config.mouth_window_until if layer == "mouth" else config.face_window_until, layer)
    for name, milestone in ends.items():
        end = max(begin, config.at(milestone, layer))
        rules = windows(config.sampling, begin, span, moving=name == "window") if name in ("static", "window") else None
        found.append(
            Stage(
                f"{layer}-{name}",
                end - begin,
                (layer,),
                name != "static",
                _density(config, layer, begin, end),
                offset=begin,
                eligible=rules,
                cost=_cost(config, layer, begin, end),
            )
        )
        begin = end
    return tuple(found)


def _cost(config: TalkingGaussianConfig, layer: str, begin: int, end: int) -> float:
    """Time of a step against one of the face without its perceptual losses, as profiled on a CPU."""
    if layer == "mouth":
        return 0.4
    late = end - max(begin, min(end, config.at(config.face_perceptual_from)))
    return 1.0 + late / max(1, end - begin)


def _density(config: TalkingGaussianConfig, layer: str, begin: int, end: int) -> tuple[DensifyPolicy, ...]:
    """Density control of a branch between two of its steps (fact: the opacity limit rises)."""
    first = config.at(config.densify_from, layer)
    last = config.at(config.branch_until if layer == "face" else config.settled_from, layer)
    start, stop = max(0, first - begin), min(end, last) - begin

    def limit(k: int) -> float:
        return config.faintest + (config.faintest_end - config.faintest) * k / last

    moving = begin >= config.at(config.static_until, layer)
    policy = DensifyPolicy(
        cloud=layer,
        start=start,
        stop=max(stop, 0),
        every=config.density_round,
        gradient_threshold=config.face_threshold if layer == "face" else config.mouth_threshold,
        split_size=0.0015,
        min_opacity=limit(begin),
        min_opacity_end=limit(min(end, last)),
        max_size=0.03 if moving else float("inf"),
        max_radius_px=config.max_radius if moving else float("inf"),
        max_points=config.max_points,
        key=KEY if config.key == "green" else None,
    )
    return (policy,) if stop > 0 else ()


def groups(config: TalkingGaussianConfig, avatar: Avatar, stage: Stage) -> list[ParameterGroup]:
    """What a stage trains, at rates that join those of the stages before and after."""
    assert isinstance(avatar, TalkingGaussian)
    if stage.name == "fuse":
        return _fused(config, avatar, stage)
    if stage.layers == ("torso",):
        return torso_groups(config, avatar.torso, stage)
    layer = stage.layers[0]
    cloud = avatar.face if layer == "face" else avatar.mouth
    if stage.name == "mouth-color":
        return _colors("mouth", cloud, config)[:2]
    begin, end = stage.offset, stage.offset + stage.steps
    settled = config.at(config.settled_from, layer)

    def means_rate(k: int) -> float:
        return config.means_rate * (config.means_rate_end / config.means_rate) ** min(1.0, k / settled)

    found = cloud_groups(config, layer, cloud, (means_rate(begin), means_rate(end)))
    return found + (_networks(config, avatar, layer, _factors(config, layer, begin, end)) if stage.deformed else [])


def _fused(config: TalkingGaussianConfig, avatar: TalkingGaussian, stage: Stage) -> list[ParameterGroup]:
    """The fusion's: colours and the face's opacity; with a ``fuse_rate`` all else as well, at that share."""
    clouds = {"face": avatar.face, "mouth": avatar.mouth, "torso": avatar.torso.cloud}
    found = []
    for layer in stage.layers:
        cloud, rate = clouds[layer], config.fuse_rate
        if rate:
            shape = cloud_groups(config, layer, cloud, (config.means_rate_end, config.means_rate_end), rate)
            found += [group for group in shape if group.name.split(".")[1] in SHAPE]
            found += torso_networks(config, avatar.torso, rate) if layer == "torso" else []
            found += _networks(config, avatar, layer, (rate, 0.1 * rate)) if layer != "torso" else []
        found += _colors(layer, cloud, config)[: 2 if layer == "mouth" else 3]
    return found


def network_factor(step: int, window: int, branch: int) -> float:
    """Factor of the networks' rates after ``step`` steps of a branch: it halves over the window, then drops."""
    return 0.5 ** (step / window) if step < window else 0.1 ** (step / branch)


def _factors(config: TalkingGaussianConfig, layer: str, begin: int, end: int) -> tuple[float, float]:
    """Factors of the networks' rates at both ends of a stage of a branch."""
    window = config.at(config.face_window_until if layer == "face" else config.mouth_window_until, layer)
    branch = config.at(config.branch_steps if layer == "face" else config.branch_until, layer)
    # A stage never crosses the drop, so its last factor is that of the same piece.
    last = 0.5 ** (end / window) if begin < window else 0.1 ** (end / branch)
    return network_factor(begin, window, branch), last


def _networks(
    config: TalkingGaussianConfig, avatar: TalkingGaussian, layer: str, factors: tuple[float, float]
) -> list[ParameterGroup]:
    face = layer == "face"
    speech = avatar.face_speech if face else avatar.mouth_speech
    decoder = avatar.face_decoder if face else avatar.mouth_decoder
    field = avatar.face_field if face else avatar.mouth_field
    gentle = config.speech_rate_factor
    return [
        network_group(f"{layer}.field", list(field.parameters()), config.grid_rate, factors, decay=0.01),
        network_group(f"{layer}.decoder", list(decoder.parameters()), config.network_rate, factors),
        network_group(f"{layer}.speech", list(speech.window_net.parameters()), config.network_rate * gentle, factors),
        network_group(
            f"{layer}.listening",
            list(speech.attention.parameters()),
            5 * config.network_rate * gentle,
            factors,
            decay=1e-4,
        ),
    ]


def _colors(layer: str, cloud: GaussianCloud, config: TalkingGaussianConfig) -> list[ParameterGroup]:
    """Both groups of harmonics, then opacity."""
    rates = {
        "base_color": config.color_rate,
        "rest_harmonics": config.harmonics_rate,
        "logit_opacities": config.opacity_rate,
    }
    return [ParameterGroup(f"{layer}.{name}", [getattr(cloud, name)], rate, rate) for name, rate in rates.items()]


def losses(
    config: TalkingGaussianConfig, avatar: Avatar, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """The losses of the branch that the stage belongs to."""
    assert isinstance(avatar, TalkingGaussian)
    if stage.name == "fuse":
        return fuse_losses(config, avatar, frame, draw, stage, context)
    if stage.layers == ("torso",):
        return torso_losses(avatar.torso, frame, draw, stage, context, ssim=config.ssim, mask=config.torso_mask)
    branch = mouth_losses if stage.layers == ("mouth",) else face_losses
    return branch(config, avatar, frame, draw, stage, context)


METHOD = Method(
    name="talking-gaussian",
    title="TalkingGaussian",
    paper="arXiv:2404.15264",
    presets={"quick": QUICK, "full": TalkingGaussianConfig()},
    seeds=seeds,
    build=build,
    warm_start=warm_start,
    stages=stages,
    groups=groups,
    losses=losses,
)
