"""What a method is: one row of answers. The training loop and the avatar file know methods only through it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from talksplat.camera import Camera
from talksplat.dataset import Eligible, PortraitDataset
from talksplat.frame import Frame
from talksplat.gaussians import RawGaussians
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.conditioning import SpeechChannels


@dataclass(frozen=True)
class DensifyPolicy:
    """Adaptive density control of one layer in one stage (3DGS, Sec. 5)."""

    cloud: str
    """Layer whose Gaussians grow and are pruned."""
    start: int
    """First step."""
    stop: int
    """Step after the last one."""
    every: int = 100
    """Steps between two rounds."""
    gradient_threshold: float = 0.0002
    """Mean gradient of the screen position (normalised device coordinates) above which a Gaussian grows."""
    split_size: float = 0.003
    """Largest standard deviation, metres, that is cloned; larger ones are split."""
    min_opacity: float = 0.005
    """Fainter Gaussians are removed."""
    min_opacity_end: float | None = None
    """The same at ``stop``, from where it started it rises in a straight line; None for a constant limit."""
    max_size: float = 0.05
    """Larger standard deviations, metres, are removed."""
    max_radius_px: float = float("inf")
    """Gaussians that reach farther (three standard deviations) in the reference view, pixels, are removed."""
    key: tuple[float, float, float] | None = None
    """Gaussians of this colour (every channel within 30/255) are removed: they only paint what is not there."""
    max_points: int = 60_000
    """No growth beyond this many."""


@dataclass(frozen=True)
class Stage:
    """One phase of training. Stages of a single layer depend on those of the same layer alone."""

    name: str
    steps: int
    layers: tuple[str, ...]
    """Layers drawn and trained."""
    deformed: bool
    """Whether the deformation is on; off is the static initialisation."""
    densify: tuple[DensifyPolicy, ...] = ()
    offset: int = 0
    """Steps of the stage's branch before it: schedules that run over several stages count from there."""
    eligible: Callable[[PortraitDataset], Eligible] | None = None
    """Which training frames a step may draw (incremental sampling); None for all."""
    frames: int = 1
    """Frames of a step: their gradients are averaged."""
    cost: float = 1.0
    """Time of a step against those of other stages, roughly: it divides the work between cores."""


@dataclass(frozen=True)
class MethodConfig:
    """Settings that every method has. A method's own config adds to it."""

    torso: Literal["own", "recorded"] = "own"
    """Own: a torso layer is trained, and the avatar speaks anywhere. Recorded: the frame's lies behind the head."""
    eyes: float = 0.0
    """Weight of L1 on the squares around the eyes, wherever the face moves; ours."""
    means_rate: float = 5e-5
    """Adam's rate of Gaussian positions, metres a step, at the start of a run."""
    means_rate_end: float = 5e-7
    """The same at the end of the run; between them it falls log-linearly."""
    color_rate: float = 2.5e-3
    """Rate of base colours."""
    harmonics_rate: float = 1.25e-4
    """Rate of the other harmonics."""
    opacity_rate: float = 0.05
    """Rate of opacities before the sigmoid."""
    scale_rate: float = 0.005
    """Rate of log-scales."""
    rotation_rate: float = 0.001
    """Rate of quaternions."""
    grid_rate: float = 5e-3
    """Rate of hash grids."""
    network_rate: float = 5e-4
    """Rate of networks."""
    network_rate_end_factor: float = 0.1
    """Networks' and grids' rates fall to this fraction over a stage."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate."""

    name: str
    parameters: list[nn.Parameter]
    rate: float
    rate_end: float
    decay: float = 0.0
    """Decoupled weight decay (AdamW)."""
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-15
    """3DGS's: gradients of single Gaussians are tiny."""


@dataclass(frozen=True)
class LossContext:
    """What losses need beside the frame."""

    background: Float[Tensor, "H W 3"]
    """What lies behind all layers, sRGB in [0, 1]: the clean plate, or with it the recorded torso of the frame."""
    step: int
    """Step within the stage."""
    perceptual: Callable[[Tensor, Tensor], Tensor] | None
    """Distance of two pictures "H W 3" on deep features, or None where no network is to be had."""
    seed: int


Draw = Callable[[Layer], Any]
"""Rasterizes a layer with the camera it wants; returns a Rendered."""


@dataclass(frozen=True)
class Method:
    """One row of the catalogue."""

    name: str
    title: str
    paper: str
    presets: Mapping[str, Any]
    """Config by preset name: at least ``quick`` and ``full``."""
    seeds: Callable[[Any, PortraitDataset, int], dict[str, RawGaussians]]
    """(config, dataset, seed) -> initial Gaussians by layer."""
    build: Callable[[Any, SpeechChannels, Camera, dict[str, RawGaussians]], Avatar]
    """(config, speech channels, reference camera, Gaussians by layer) -> untrained avatar."""
    warm_start: Callable[[Any, Avatar, PortraitDataset, int], dict[str, float]]
    """(config, avatar, dataset, seed) -> figures for the journal; runs once before the first stage."""
    stages: Callable[[Any], tuple[Stage, ...]]
    groups: Callable[[Any, Avatar, Stage], list[ParameterGroup]]
    losses: Callable[[Any, Avatar, Frame, Draw, Stage, LossContext], dict[str, Tensor]]
    """Weighted terms of one step; their sum is minimised."""
