"""What methods share in training: the torso layer, groups of clouds and networks, the speech nets' first lesson."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from talksplat.dataset import PortraitDataset, seeded
from talksplat.frame import HEAD_LABELS, Frame
from talksplat.methods.method import DensifyPolicy, Draw, LossContext, MethodConfig, ParameterGroup, Stage
from talksplat.metrics.image import l1_and_ssim
from talksplat.model.articulation import articulation_targets, teach_articulation
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import SpeechNet
from talksplat.model.masks import is_any, picked
from talksplat.model.patches import eye_squares, lip_square, perceptual_patch
from talksplat.model.torso import TorsoLayer, torso_target
from talksplat.speech.baseline import fit_lip_baseline
from talksplat.speech.encoders import find_encoder


def cloud_groups(
    config: MethodConfig, layer: str, cloud: GaussianCloud, means: tuple[float, float], damp: float = 1.0
) -> list[ParameterGroup]:
    """A cloud's parameters; positions go from the first to the second rate of ``means``, others by ``damp``."""
    rates = {
        "quats": config.rotation_rate,
        "log_scales": config.scale_rate,
        "logit_opacities": config.opacity_rate,
        "base_color": config.color_rate,
        "rest_harmonics": config.harmonics_rate,
    }
    groups = [ParameterGroup(f"{layer}.means", [cloud.means], *means)]
    return groups + [
        ParameterGroup(f"{layer}.{name}", [getattr(cloud, name)], rate * damp, rate * damp)
        for name, rate in rates.items()
    ]


def torso_stages(static: int, moving: int, *, every: int, most: int) -> tuple[Stage, ...]:
    """Our torso layer at rest and following the head pose, as long as told; it grows in between.

    Density control has a round ``every`` so many steps, up to ``most`` Gaussians, from the middle of the first to the
    middle of the second stage.
    """

    def grows(start: int, stop: int) -> tuple[DensifyPolicy, ...]:
        return (DensifyPolicy(cloud="torso", start=start, stop=stop, every=every, max_points=most),)

    return (
        Stage("torso-static", static, ("torso",), False, grows(static // 2, static), cost=0.7),
        Stage("torso", moving, ("torso",), True, grows(0, moving // 2), cost=0.7),
    )


def torso_groups(config: MethodConfig, torso: TorsoLayer, stage: Stage) -> list[ParameterGroup]:
    """What a stage of the torso alone trains; positions slow down over its stages."""
    half = config.means_rate / 2
    means = (half, config.means_rate_end) if stage.deformed else (config.means_rate, half)
    groups = cloud_groups(config, "torso", torso.cloud, means)
    return groups + (torso_networks(config, torso) if stage.deformed else [])


def torso_networks(config: MethodConfig, torso: TorsoLayer, damp: float = 1.0) -> list[ParameterGroup]:
    """The torso's grid and decoder."""
    end = config.network_rate_end_factor
    rates = {"field": config.grid_rate * damp, "decoder": config.network_rate * damp}
    return [
        ParameterGroup(f"torso.{part}", list(getattr(torso, part).parameters()), rate, rate * end)
        for part, rate in rates.items()
    ]


def torso_losses(
    torso: TorsoLayer, frame: Frame, draw: Draw, stage: Stage, context: LossContext, *, ssim: float, mask: float
) -> dict[str, Tensor]:
    """Colour and alpha where the torso or its surroundings are seen; behind the head only the inpainted rim.

    ``ssim`` weighs 1 - SSIM beside L1, ``mask`` the alpha loss.
    """
    if stage.deformed:
        torso.anneal(context.step / max(1, stage.steps // 3))
    drawn = draw(torso.layer(frame.condition.head_pose, deformed=stage.deformed))
    target, alpha, counts = torso_target(frame.image, frame.labels, context.background)
    picture = drawn.colors + (1 - drawn.alpha) * context.background
    share = counts.mean().clamp_min(1e-6)
    color = l1_and_ssim(picture, target, 1.0, ssim, counts)
    missed = ((drawn.alpha[..., 0] - alpha).abs() * counts).mean() / share
    return {"color": color, "mask": mask * missed}


def wanted_stages(config: MethodConfig, table: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages of ``table`` that take any steps; none of the torso's where the recorded one takes its place."""
    return tuple(stage for stage in table if stage.steps and (config.torso == "own" or "torso" not in stage.layers))


def behind_the_head(
    torso: TorsoLayer, frame: Frame, draw: Draw, stage: Stage, background: Float[Tensor, "H W 3"]
) -> Float[Tensor, "H W 3"]:
    """What a stage draws the head over: the background, under the torso layer where the stage trains that too."""
    if "torso" not in stage.layers:
        return background
    drawn = draw(torso.layer(frame.condition.head_pose, deformed=True))
    return drawn.colors + (1 - drawn.alpha) * background


def lips_loss(picture: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], frame: Frame) -> Float[Tensor, ""]:
    """L1 on the lips square."""
    rows, columns = lip_square(frame.landmarks, frame.camera)
    return (picture[rows, columns] - target[rows, columns]).abs().mean()


def eyes_loss(picture: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], frame: Frame) -> Float[Tensor, ""]:
    """L1 on the squares around both eyes (ours): lids are a hundredth of the picture and move in a blink only."""
    squares = eye_squares(frame.landmarks, frame.camera)
    return torch.stack([(picture[square] - target[square]).abs().mean() for square in squares]).mean()


def patch_distance(
    context: LossContext,
    stage: Stage,
    frame: Frame,
    picture: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    *,
    edge: int,
    whole: bool,
    tag: str | int = "patch",
) -> Float[Tensor, ""]:
    """The perceptual distance on one patch, on the mouth half of the time, else on the face or the ``whole`` picture.

    ``tag`` tells the draws of one step apart.
    """
    assert context.perceptual is not None
    rows, columns = perceptual_patch(frame, edge, whole, seeded(context.seed, stage.name, context.step, tag))
    return context.perceptual(picture[rows, columns], target[rows, columns])


def composed_head(
    colors: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W 1"],
    behind: Float[Tensor, "H W 3"],
    frame: Frame,
    *,
    whole: bool,
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W 3"], Float[Tensor, "H W"]]:
    """A drawn head over what lies ``behind``, what it should look like, and the head's mask.

    The target is the recorded picture, of the ``whole`` of it or of the head alone.
    """
    mask = is_any(frame.labels, HEAD_LABELS)
    target = frame.image if whole else picked(mask, frame.image, behind)
    return colors + (1 - alpha) * behind, target, mask.float()


def network_group(
    name: str, parameters: list[nn.Parameter], rate: float, factors: tuple[float, float], decay: float = 0.0
) -> ParameterGroup:
    """A network's parameters; the rate goes from the first to the second of ``factors`` over the stage."""
    return ParameterGroup(
        name, parameters, rate * factors[0], rate * factors[1], decay=decay, betas=(0.9, 0.99), epsilon=1e-8
    )


def teach_lips(net: SpeechNet, dataset: PortraitDataset, steps: int, seed: int) -> dict[str, float]:
    """Teach a speech net lip shapes before it ever moves a Gaussian (ours); of ``steps`` 0 it is taught nothing.

    The shapes are not the recorded ones but what ridge regression tells of them from speech: with what speech does not
    explain taken out, there is less for the net to learn by heart. Where speech features tell the lips already, there
    is nothing to teach: whatever the number of steps, the net begins by adding nothing.
    """
    if dataset.channels.told:
        net.trust_what_is_told()
        return {}
    if not steps:
        return {}
    tracks, train = dataset.portrait.tracks, torch.tensor(dataset.train_frames)
    recorded = articulation_targets(tracks.landmarks[..., :2], tracks.mouth, train)
    features, spectral = dataset.features.cpu().numpy(), find_encoder(dataset.encoder).spectral_channels
    baseline = fit_lip_baseline(features, recorded.numpy(), train.numpy(), spectral_channels=spectral)
    shapes = torch.from_numpy(baseline.predict(features, np.arange(len(recorded)))).float()
    closed = recorded[torch.tensor(dataset.closed_frames)].mean(0)
    rest = dataset.rest_windows, closed
    return teach_articulation(net, dataset.features, shapes, train, steps, seeded(seed, "speech"), rest)
